"""Who dominates whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.runners.sweep.front import dominates, front

POINT = st.tuples(st.integers(0, 5), st.integers(0, 5))
MODES = st.tuples(st.sampled_from(["min", "max"]), st.sampled_from(["min", "max"]))


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ((0.9, 10), (0.8, 20), True),
        ((0.9, 10), (0.9, 20), True),
        ((0.9, 10), (0.9, 10), False),
        ((0.9, 30), (0.8, 20), False),
        ((0.8, 20), (0.9, 10), False),
    ],
)
def test_by_hand(left: tuple[float, float], right: tuple[float, float], expected: bool) -> None:
    """Accuracy up, size down."""
    assert dominates(left, right, modes=["max", "min"]) is expected


@given(points=st.lists(POINT, max_size=12), modes=MODES)
def test_a_point_is_on_the_front_or_dominated_by_one_that_is(
    points: list[tuple[int, int]], modes: tuple[str, str]
) -> None:
    places = front(points, modes=modes)
    for place, point in enumerate(points):
        beaten = [other for other in places if dominates(points[other], point, modes=modes)]
        assert bool(beaten) is (place not in places)


@given(left=POINT, right=POINT, modes=MODES)
def test_two_points_never_dominate_each_other(
    left: tuple[int, int], right: tuple[int, int], modes: tuple[str, str]
) -> None:
    assert not (dominates(left, right, modes=modes) and dominates(right, left, modes=modes))


@given(points=st.lists(POINT, min_size=1, max_size=12))
def test_with_one_objective_the_front_is_the_best(points: list[tuple[int, int]]) -> None:
    values = [(point[0],) for point in points]
    best = max(values)
    assert [values[place] for place in front(values, modes=["max"])] == [best] * values.count(best)
