"""A grid: each point once, whatever the space."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from nnray.config import Range
from nnray.errors import ConfigError
from nnray.runners.sweep.grid import values_of
from nnray.runners.sweep.searchers import grid
from nnray.runners.sweep.study import Study, open_study

PLAIN = {
    "kind": Range(choice=["a", [1, 2], None]),
    "width": Range(int=(1, 3)),
    "dropout": Range(uniform=(0.0, 0.3), step=0.1),
}
CONDITIONAL = PLAIN | {"momentum": Range(uniform=(0.0, 1.0), when={"kind": "a"})}


def study_at(folder: Path, space: Mapping[str, Range], *, seed: int = 0, points: int = 3) -> Study:
    return open_study(
        folder / f"grid-{seed}-{len(list(folder.iterdir()))}",
        name="tiny",
        modes=["max"],
        space=space,
        make_sampler=lambda number: grid("v", "max", seed + number, space=space, points=points),
    )


def points_of(study: Study, count: int) -> list[dict[str, Any]]:
    seen = []
    for place in range(count):
        number, params = study.propose()
        study.end(number, ("finished", "failed")[place % 2], values=[0.5], reason="")  # type: ignore[arg-type]
        seen.append(params)
    return seen


@pytest.mark.parametrize(
    ("range_", "expected"),
    [
        (Range(choice=["a", [1], None]), ["a", [1], None]),
        (Range(int=(1, 3)), [1, 2, 3]),
        (Range(int=(0, 100)), [0, 25, 50, 75, 100]),
        (Range(int=(0, 10), step=4), [0, 4, 8]),
        (Range(uniform=(0.0, 1.0)), [0.0, 0.25, 0.5, 0.75, 1.0]),
        (Range(uniform=(0.0, 1.0), step=0.3), [0.0, 0.3, 0.6, 0.9]),
        (Range(uniform=(0.1, 0.7), step=0.1), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]),
        (Range(loguniform=(1e-4, 1.0)), [1e-4, 1e-3, 1e-2, 1e-1, 1.0]),
        (Range(logint=(1, 256)), [1, 4, 16, 64, 256]),
        (Range(logint=(1, 3)), [1, 2, 3]),
    ],
)
def test_what_is_tried_of_a_range(range_: Range, expected: list[Any]) -> None:
    found = values_of(range_, 5)
    assert found == (pytest.approx(expected) if range_.choice is None else expected)
    assert all(range_.holds(value) for value in found)


def test_one_point_is_the_low_end() -> None:
    assert values_of(Range(uniform=(0.25, 0.5)), 1) == [0.25]


def test_every_point_comes_once_and_no_other(tmp_path: Path) -> None:
    study = study_at(tmp_path, PLAIN)
    assert study.size == 36
    found = points_of(study, 36)
    every = product(["a", [1, 2], None], [1, 2, 3], [0.0, 0.1, 0.2, 0.3])
    assert sorted(map(repr, found)) == sorted(
        repr({"kind": kind, "width": width, "dropout": dropout}) for kind, width, dropout in every
    )


def test_a_condition_takes_points_away(tmp_path: Path) -> None:
    study = study_at(tmp_path, CONDITIONAL)
    assert study.size == 3 * 4 * (3 + 2)
    found = points_of(study, 60)
    assert len(set(map(repr, found))) == 60
    assert all(("momentum" in point) is (point["kind"] == "a") for point in found)


def test_true_and_1_are_two_points(tmp_path: Path) -> None:
    space = {"x": Range(choice=[True, "no"]), "y": Range(int=(0, 1))}
    assert len(set(map(repr, points_of(study_at(tmp_path, space), 4)))) == 4


def test_points_that_are_out_are_not_given_again(tmp_path: Path) -> None:
    study = study_at(tmp_path, PLAIN)
    assert len({repr(study.propose()[1]) for _ in range(36)}) == 36


def test_after_the_last_point_it_begins_again(tmp_path: Path) -> None:
    found = points_of(study_at(tmp_path, PLAIN), 37)
    assert found[-1] in found[:-1]


def test_a_given_point_is_not_tried_again(tmp_path: Path) -> None:
    study = study_at(tmp_path, PLAIN)
    study.first({"kind": "a", "width": 2})
    found = points_of(study, 36)
    assert (found[0]["kind"], found[0]["width"]) == ("a", 2)
    assert len(set(map(repr, found))) == 36


def test_the_order_is_the_seed_s(tmp_path: Path) -> None:
    first, again, other = (points_of(study_at(tmp_path, PLAIN, seed=seed), 12) for seed in (1, 1, 99))
    assert first == again
    assert first != other


def test_a_grid_without_end_is_told_before_it_is_made(tmp_path: Path) -> None:
    space = {f"x{place}": Range(uniform=(0.0, 1.0)) for place in range(40)}
    with pytest.raises(ConfigError, match=r"sweep.search: grid has over 10,000 points: search fewer paths"):
        _ = study_at(tmp_path, space).size
