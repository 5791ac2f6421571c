"""MovieLens: star ratings of films, each by a user at a time; the users are natural clients.

What is tested on comes after what is learnt from: the latest ratings of each user are held back.

Source: Harper and Konstan, "The MovieLens datasets: history and context", 2015; ml-latest-small.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from nnray.data.groups import numbered_groups
from nnray.data.root import data_root
from nnray.data.splits import DataSplits, Examples
from nnray.data.table_columns import Rows, check_lengths, fit_encoder, is_number
from nnray.errors import DataError
from nnray.fields import NonNegativeInt

_HEAD = ["userId", "movieId", "rating", "timestamp"]
NAMES = ("user", "film")


def movielens(
    *,
    root: str | None = None,
    test: Annotated[float, Field(gt=0, lt=1)] = 0.1,
    min_ratings: NonNegativeInt = 0,
) -> DataSplits:
    """Ratings of films, half a star to five: 100,836 by 610 users, the latest of each user to test on.

    Inputs are the codes of user and film; code 0 is a film that nobody had rated before.

    Args:
        root: Folder that has ``ratings.csv``, or a folder ``movielens_small``, ``ml-latest-small`` or
            ``movielens`` with it; None means ``$NNRAY_DATA``, else the user's cache folder.
        test: Share of each user's ratings to test on, the latest, at least one but not all.
        min_ratings: Give films with fewer ratings to learn from code 0, as if nobody had rated them.
    """
    path = find_ratings(data_root(root))
    rows = read_ratings(path)
    latest = _latest(rows, share=test)
    train, held = ([row for row, late in zip(rows, latest, strict=True) if late == part] for part in (0, 1))
    told = numbered_groups([row[0] for row in train], kind="user")

    def of(index: Tensor) -> DataSplits:
        learnt = [train[at] for at in index.tolist()]
        encoder = fit_encoder(_known(learnt, min_ratings), NAMES, quantities=(), where=str(path))

        def encoded(part: Rows) -> Examples:
            inputs = encoder.encode([row[:2] for row in part], where=str(path))
            return Examples(inputs, torch.tensor([float(row[2]) for row in part]))

        examples = encoded(train)
        info = replace(encoder.info("movielens", train=examples.inputs), targets="numbers")
        return DataSplits(examples, None, lambda: encoded(held), info, lambda: told, of)

    return of(torch.arange(len(train)))


def _known(rows: Rows, min_ratings: int) -> list[list[str]]:
    """User and film of ratings, without films that have too few."""
    counts = Counter(row[1] for row in rows)
    return [[row[0], row[1] if counts[row[1]] >= min_ratings else ""] for row in rows]


def _latest(rows: Sequence[Sequence[str]], *, share: float) -> NDArray[np.bool_]:
    """Which ratings are among the latest of their user; of the same second, those later in the file."""
    users = np.array([row[0] for row in rows])
    times = np.array([float(row[3]) for row in rows])
    _, of = np.unique(users, return_inverse=True)
    order = np.lexsort((times, of))
    sizes = np.bincount(of)
    first = np.cumsum(sizes) - sizes
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order] = np.arange(len(rows)) - np.repeat(first, sizes)
    # A user keeps a rating to learn from.
    count = np.minimum(np.maximum(1, np.round(share * sizes)), sizes - 1).astype(np.int64)
    found: NDArray[np.bool_] = rank >= (sizes - count)[of]
    return found


def read_ratings(path: Path) -> list[list[str]]:
    """Rows of a file of ratings: user, film, stars and time.

    Raises:
        DataError: It is unreadable, or another file.
    """
    try:
        with path.open(encoding="ascii", newline="") as file:
            head, *rows = csv.reader(file)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{path}: unreadable ({error}); replace it by the published file") from error
    if head != _HEAD:
        raise DataError(f"{path}: begins with {head}; expected {_HEAD}")
    check_lengths(rows, len(_HEAD), where=str(path))
    for number, row in enumerate(rows, start=1):
        if not (is_number(row[2]) and is_number(row[3])):
            raise DataError(f"{path}: row {number} is {row}; expected a rating and a time, both numbers")
    return rows


def find_ratings(root: Path) -> Path:
    """The file of ratings.

    Raises:
        DataError: It is in none of the places.
    """
    folders = ("movielens_small", "ml-latest-small", "movielens", "")
    places = [root / folder / "ratings.csv" for folder in folders]
    for place in places:
        if place.is_file():
            return place
    raise DataError(
        f"movielens: none of {', '.join(map(str, places))} is there; set data.root or $NNRAY_DATA to the "
        "folder that has ratings.csv of MovieLens' ml-latest-small"
    )
