"""MovieLens for ranking: the last film of each user is tested on, and tells nothing of what is learnt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nnray.data.movielens_ranking import movielens_ranking
from nnray.data.prepare import prepare
from nnray.data.splits import NO_CLASS, DataSplits, Examples
from nnray.errors import DataError
from nnray.federated.partitions.partition import Partition
from nnray.runners.federated.pooled import pooled
from tests.unit.data.table_files import write_ratings

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "movielens_small"
HEAD = "userId,movieId,rating,timestamp"
N = NO_CLASS


def parts(splits: DataSplits) -> tuple[Examples, Examples, Examples]:
    assert splits.test is not None
    train, val, test = splits.train, splits.val, splits.test()
    assert isinstance(train, Examples) and isinstance(val, Examples) and isinstance(test, Examples)
    return train, val, test


def write(*lines: str) -> None:
    Path("ratings.csv").write_text("\n".join([HEAD, *lines]) + "\n")


def small() -> DataSplits:
    """User 1 saw 10, 12, 11 and then 13, which nobody had seen; user 2 saw 11, 12, 10."""
    write(
        *("1,10,1.0,1", "1,11,5.0,3", "1,12,3.0,2", "1,13,2.0,9"),
        *("2,10,4.0,6", "2,11,0.5,4", "2,12,0.5,5"),
    )
    return movielens_ranking(root=".")


def test_the_last_is_tested_on_and_the_one_before_is_validated_on() -> None:
    splits = small()
    train, val, test = parts(splits)
    assert splits.info.target_names == ("10", "11", "12"), "what is learnt from has no film 13"
    assert train.targets.tolist() == [[1, 0, 1], [0, 1, 0]]
    assert val.targets.tolist() == [[N, 1, N], [0, N, 1]]
    assert test.targets.tolist() == [[N, N, N], [1, N, N]]
    for part in (train, val, test):
        assert part.inputs.tolist() == [[1], [2]]


def test_popularity_is_that_of_what_is_learnt_from() -> None:
    assert small().info.target_rates == (0.5, 0.5, 0.5)


def test_under_a_limit_popularity_is_that_of_users_who_are_learnt_from() -> None:
    splits = prepare(small(), name="movielens_ranking", seed=0, limit=1)
    assert isinstance(splits.train, Examples)
    assert splits.info.target_rates == tuple(splits.train.targets[0].double().tolist())


def test_private_training_is_not_told_who_rated_what() -> None:
    splits = prepare(small(), name="movielens_ranking", seed=0, count_classes=False)
    assert splits.info.target_rates == ()


def test_clients_popularity_is_that_of_the_users_who_train() -> None:
    splits = small()
    assert isinstance(splits.train, Examples)
    ones = Partition(np.array([0]), np.array([0, 1]))
    assert pooled(splits.info, splits.train, population=ones).target_rates == (1.0, 0.0, 1.0)


def test_of_the_same_second_the_later_line_is_held_back() -> None:
    write("1,12,3,7", "1,10,3,7", "1,11,3,7", *(f"2,{film},3,{film}" for film in (10, 11, 12, 13, 14)))
    train, val, test = parts(movielens_ranking(root="."))
    assert train.targets[0].tolist() == [0, 0, 1]
    assert val.targets[0].tolist() == [1, 0, N]
    assert test.targets[0].tolist() == [N, 1, N]


def test_users_with_too_few_ratings_are_left_out() -> None:
    write("1,10,3,1", "1,11,3,2", "2,10,3,1", "2,11,3,2", "2,12,3,3")
    splits = movielens_ranking(root=".")
    assert splits.info.categories == (2,)
    assert splits.groups is not None and splits.groups().names == ("2",)


def test_rare_films_are_not_ranked() -> None:
    write(*(f"{user},{film},3,{film}" for user in (1, 2) for film in (10, 10 + user, 14, 15)))
    assert movielens_ranking(root=".").info.target_names == ("10", "11", "12")
    assert movielens_ranking(root=".", min_ratings=2).info.target_names == ("10",)


def test_every_rating_is_for_one_thing() -> None:
    write_ratings(Path(), users=12, each=8)
    train, val, test = parts(movielens_ranking(root="."))
    assert (train.targets == 1).sum() == 12 * 6
    for found, before in ((val, train), (test, val)):
        assert ((found.targets == 1).sum(1) <= 1).all()
        was = (before.targets == 1) | (before.targets == N)
        assert torch.equal(found.targets == N, was), "what was rated before isn't asked for"


def test_changed_future_ratings_change_nothing_that_is_learnt_from() -> None:
    write_ratings(Path())
    before = movielens_ranking(root=".")
    lines = Path("ratings.csv").read_text().splitlines()[1:]
    for user in range(1, 13):
        own = [number for number, line in enumerate(lines) if line.startswith(f"{user},")]
        own.sort(key=lambda number: int(lines[number].split(",")[3]))
        for number in own[-2:]:
            lines[number] = f"{user},{900 + number},0.5,{lines[number].split(',')[3]}"
    write(*lines)
    after = movielens_ranking(root=".")
    assert after.info == before.info
    assert torch.equal(parts(after)[0].targets, parts(before)[0].targets)
    assert not (parts(after)[2].targets == 1).any(), "of the new films none was known"


def test_films_have_their_titles_where_these_are_known() -> None:
    Path("movies.csv").write_text('movieId,title,genres\n11,"Été, the (1999)",Drama\n', encoding="utf-8")
    assert small().info.target_names == ("10", "Été, the (1999)", "12")


def test_unreadable_titles_are_told() -> None:
    Path("movies.csv").write_bytes(b"movieId,title\n11,\xff\n")
    with pytest.raises(DataError, match=r"movies\.csv: unreadable"):
        small()


@pytest.mark.parametrize(
    ("lines", "kwargs", "problem"),
    [
        (["1,10,3,1", "1,11,3,2"], {}, "no user has 3 ratings"),
        ([f"1,{film},3,1" for film in range(5)], {"min_ratings": 2}, "no film has 2 ratings"),
    ],
)
def test_too_little_is_told(lines: list[str], kwargs: dict[str, int], problem: str) -> None:
    write(*lines)
    with pytest.raises(DataError, match=rf"ratings\.csv: {problem}"):
        movielens_ranking(root=".", **kwargs)


@pytest.mark.realdata
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the published files")
def test_published_ratings_have_their_published_counts() -> None:
    splits = movielens_ranking(root=str(SHARED))
    train, val, test = parts(splits)
    assert len(splits.info.target_names) == 9681
    assert (train.targets == 1).sum() == 100_836 - 2 * 610
    assert ((val.targets == 1).sum(), (test.targets == 1).sum()) == (590, 586)
