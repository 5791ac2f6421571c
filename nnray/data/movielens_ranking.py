"""MovieLens for ranking: which film comes next for a user, among all that the user has not rated.

Leave-last-out in time: the last film of each user is tested on, the last but one is validated on, and those
before are learnt from. Any rating says that the user has seen the film, whatever the stars.

Source: Rendle et al., "BPR: Bayesian personalized ranking from implicit feedback", 2009, section 6.2: leave
    one out, here by time. Harper and Konstan, 2015, as in `nnray.data.movielens`.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnray.data.groups import numbered_groups
from nnray.data.movielens import find_ratings, read_ratings
from nnray.data.root import data_root
from nnray.data.splits import NO_CLASS, DataSplits, Examples
from nnray.data.table_columns import fit_encoder
from nnray.errors import DataError
from nnray.fields import PositiveInt

CLASSES = ("not rated", "rated")
_LEARNT, _VALIDATED, _TESTED = range(3)
_LEAST = 3
"""Ratings of a user: one for each."""


def movielens_ranking(*, root: str | None = None, min_ratings: PositiveInt = 1) -> DataSplits:
    """Films that each of 610 users has rated, the last one to test on and the one before to validate on.

    An example is a user: the input is the user's code, and the target says of each film whether it is to be
    found (1), to be ranked behind those (0), or not asked for (-100), as the user had rated it before. A film
    that nobody had rated before is not among them: its user has nothing to be found, which counts as a miss.

    Films have their titles where ``movies.csv`` stands beside, else their ids.

    Args:
        root: Folder that has ``ratings.csv``, or a folder ``movielens_small``, ``ml-latest-small`` or
            ``movielens`` with it; None means ``$NNRAY_DATA``, else the user's cache folder.
        min_ratings: Rank films that have so many ratings to learn from; others can't be found.
    """
    path = find_ratings(data_root(root))
    seen = _in_time(read_ratings(path), min_ratings=min_ratings, where=str(path))
    rows, titles = [[user] for user in seen.users], _titles(path.with_name("movies.csv"))
    encoder = fit_encoder(rows, ("user",), quantities=(), where=str(path))
    inputs = encoder.encode(rows, where=str(path))
    train, told = Examples(inputs, seen.targets(_LEARNT)), numbered_groups(seen.users, kind="user")

    def of(index: Tensor) -> DataSplits:
        info = replace(
            encoder.info("movielens_ranking", classes=CLASSES, train=inputs),
            targets="classes",
            target_names=tuple(titles.get(film, film) for film in seen.films),
            target_rates=tuple(train.targets[index].double().mean(0).tolist()),
        )
        val = Examples(inputs, seen.targets(_VALIDATED))
        return DataSplits(train, val, lambda: Examples(inputs, seen.targets(_TESTED)), info, lambda: told, of)

    return of(torch.arange(len(inputs)))


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """Which user has seen which film, and what that is for; shape ``[N] int64`` each."""

    users: tuple[str, ...]
    films: tuple[str, ...]
    user: NDArray[np.int64]
    film: NDArray[np.int64]
    part: NDArray[np.int64]

    def targets(self, part: int) -> Tensor:
        """Of each user and film, ``[users, films] int64``."""
        found = torch.zeros(len(self.users), len(self.films), dtype=torch.int64)
        for at, value in ((self.part < part, NO_CLASS), (self.part == part, 1)):
            found[self.user[at], self.film[at]] = value
        return found


def _titles(path: Path) -> dict[str, str]:
    """Titles of films by id; none where the file is not there.

    Raises:
        DataError: It is unreadable.
    """
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return {row[0]: row[1] for row in csv.reader(file) if len(row) > 1}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: unreadable ({error}); replace it by the published file") from error


def _in_time(rows: Sequence[Sequence[str]], *, min_ratings: int, where: str) -> _Seen:
    """Ratings in the order of time, of the same second in that of the file, with what each is for."""
    counts = Counter(row[0] for row in rows)
    rows = sorted((row for row in rows if counts[row[0]] >= _LEAST), key=lambda row: float(row[3]))
    if not rows:
        raise DataError(f"{where}: no user has {_LEAST} ratings: to learn from, to validate and to test on")
    users, user = np.unique([row[0] for row in rows], return_inverse=True)
    order = np.argsort(user, kind="stable")
    user, named = user[order], [rows[at][1] for at in order]
    left = np.bincount(user).cumsum()[user] - np.arange(len(user))  # 1 for the last of its user
    part = np.clip(_LEAST - left, _LEARNT, _TESTED)
    learnt = Counter(film for film, of in zip(named, part, strict=True) if of == _LEARNT)
    films = tuple(sorted(film for film, count in learnt.items() if count >= min_ratings))
    if not films:
        raise DataError(f"{where}: no film has {min_ratings} ratings to learn from; lower data.min_ratings")
    place = {film: at for at, film in enumerate(films)}
    film = np.array([place.get(name, -1) for name in named])
    known = film >= 0
    return _Seen(tuple(users.tolist()), films, user[known], film[known], part[known])
