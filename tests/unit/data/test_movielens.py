"""MovieLens: the latest ratings are tested on, and what comes later tells nothing of what is learnt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nnray.data.movielens import movielens
from nnray.data.prepare import prepare
from nnray.data.splits import DataSplits, Examples
from nnray.data.table_columns import encoder_from_json
from nnray.errors import DataError
from tests.unit.data.table_files import write_ratings

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "movielens_small"
HEAD = "userId,movieId,rating,timestamp"


def parts(splits: DataSplits) -> tuple[Examples, Examples]:
    assert splits.test is not None and isinstance(splits.train, Examples)
    test = splits.test()
    assert isinstance(test, Examples)
    return splits.train, test


def write(*lines: str) -> None:
    Path("ratings.csv").write_text("\n".join([HEAD, *lines]) + "\n")


def test_the_latest_of_each_user_are_held_back() -> None:
    write("1,10,1.0,30", "1,11,2.0,10", "1,12,3.0,20", "2,10,4.0,5", "2,11,5.0,6", "2,12,0.5,4")
    train, test = parts(movielens(root=".", test=0.3))
    # Codes of films 10, 11 and 12 are 1, 2 and 3; of users 1 and 2.
    assert train.inputs.tolist() == [[1, 2], [1, 3], [2, 1], [2, 3]]
    assert train.targets.tolist() == [2, 3, 4, 0.5]
    assert test.inputs.tolist() == [[1, 1], [2, 2]]
    assert test.targets.tolist() == [1, 5]


def test_of_the_same_second_the_later_line_is_held_back() -> None:
    write(*(f"1,{film},3.0,7" for film in (10, 11, 12, 13)))
    assert parts(movielens(root=".", test=0.25))[1].inputs.tolist() == [[1, 0]]


def test_a_user_keeps_a_rating_to_learn_from() -> None:
    write("1,10,3.0,7", "2,10,3.0,7", "2,11,3.0,8")
    train, test = parts(movielens(root=".", test=0.9))
    assert (train.inputs.tolist(), test.inputs.tolist()) == ([[1, 1], [2, 1]], [[2, 0]])


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_nothing_to_learn_from_is_later_than_what_is_tested_on(share: float) -> None:
    write_ratings(Path("movielens"))
    lines = Path("movielens/ratings.csv").read_text().splitlines()[1:]
    time_of = {tuple(line.split(",")[:2]): int(line.split(",")[3]) for line in lines}
    splits = movielens(root=".", test=share)
    users, films = encoder_from_json(splits.info.encoder).categories
    assert users is not None and films is not None
    last: dict[str, int] = {}
    train, test = parts(splits)
    for user, film in train.inputs.int().tolist():
        name = users[user - 1]
        last[name] = max(last.get(name, 0), time_of[name, films[film - 1]])
    for user, film in test.inputs.int().tolist():
        if film:
            assert time_of[users[user - 1], films[film - 1]] > last[users[user - 1]]
    assert len(test) == 12 * max(1, round(share * 8))


def test_changed_future_ratings_change_nothing_that_is_learnt_from() -> None:
    write_ratings(Path())
    before = movielens(root=".", test=0.25)
    lines = Path("ratings.csv").read_text().splitlines()[1:]
    for user in range(1, 13):
        own = [number for number, line in enumerate(lines) if line.startswith(f"{user},")]
        own.sort(key=lambda number: int(lines[number].split(",")[3]))
        for number in own[-2:]:
            cells = lines[number].split(",")
            lines[number] = f"{user},{900 + number},0.5,{cells[3]}"
    write(*lines)
    after = movielens(root=".", test=0.25)
    assert after.info == before.info
    assert torch.equal(parts(after)[0].inputs, parts(before)[0].inputs)
    assert torch.equal(parts(after)[0].targets, parts(before)[0].targets)
    assert parts(after)[1].inputs[:, 1].unique().tolist() == [0]


def test_users_are_the_groups() -> None:
    write_ratings(Path())
    splits = prepare(movielens(root="."), name="movielens", seed=0, validation=0.2)
    assert splits.groups is not None
    groups, users = splits.groups(), encoder_from_json(splits.info.encoder).categories[0]
    assert groups.kind == "user"
    assert groups.names == users
    codes = parts(splits)[0].inputs[:, 0].numpy()
    assert np.array_equal(groups.of + 1, codes)


def test_rare_films_share_the_code_of_unknown_ones() -> None:
    write("1,10,1.0,1", "1,11,2.0,2", "1,13,3.0,3", "2,10,4.0,1", "2,12,5.0,2", "2,11,0.5,3")
    train, _ = parts(movielens(root=".", min_ratings=2))
    assert train.inputs[:, 1].tolist() == [1, 0, 1, 0]
    assert movielens(root=".", min_ratings=2).info.categories == (3, 2)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["1,10,1.0"], "row 1 has 3 cells; expected 4"),
        (["1,10,1.0,5", "1,11,good,6"], "row 2 is .*expected a rating and a time"),
        (["1,10,1.0,then"], "row 1 is .*expected a rating and a time"),
        ([], "has no rows"),
    ],
)
def test_a_wrong_row_is_told(lines: list[str], problem: str) -> None:
    write(*lines)
    with pytest.raises(DataError, match=rf"ratings\.csv: {problem}"):
        movielens(root=".")


@pytest.mark.parametrize(
    ("content", "problem"), [(b"", "unreadable"), (b"\xff", "unreadable"), (b"a,b\n1,2\n", "begins with")]
)
def test_another_file_is_told(content: bytes, problem: str) -> None:
    Path("ratings.csv").write_bytes(content)
    with pytest.raises(DataError, match=problem):
        movielens(root=".")


@pytest.mark.realdata
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the published files")
def test_published_ratings_have_their_published_counts() -> None:
    splits = movielens(root=str(SHARED))
    train, test = parts(splits)
    assert len(train) + len(test) == 100_836
    assert splits.info.categories[0] == 611
    assert set(train.targets.unique().tolist()) == {half / 2 for half in range(1, 11)}


def test_ratings_that_are_not_learnt_from_have_no_part_in_the_codes() -> None:
    """Film 13 is known by a rating that is held for validation alone."""
    write("1,10,1.0,1", "1,11,2.0,2", "1,13,3.0,3", "1,14,1.0,9", "2,10,4.0,1", "2,14,1.0,9")
    splits = movielens(root=".")
    assert splits.refit is not None
    again = splits.refit(torch.tensor([0, 1, 3]))
    train, test = parts(again)
    assert train.inputs.tolist() == [[1, 1], [1, 2], [1, 0], [2, 1]]
    assert test.inputs.tolist() == [[1, 0], [2, 0]]
    assert (splits.info.categories, again.info.categories) == ((3, 4), (3, 3))


def test_films_that_are_validated_on_alone_are_unknown() -> None:
    write_ratings(Path())
    splits = prepare(movielens(root="."), name="movielens", seed=0, validation=0.5)
    films = encoder_from_json(splits.info.encoder).categories[1]
    assert films is not None and isinstance(splits.train, Examples)
    assert splits.train.inputs[:, 1].unique().tolist() == list(range(1, len(films) + 1))
