"""An axis: where values lie, and which are written at it."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nnray.runners.report.axis import Axis, can_show, spanning

FINITE = st.floats(-1e12, 1e12, allow_nan=False)


@given(st.lists(FINITE, min_size=1), st.booleans(), st.sampled_from([0.0, 0.05]))
def test_every_value_lies_on_its_axis(values: list[float], log: bool, room: float) -> None:
    axis = spanning(values, start=50.0, end=450.0, log=log, room=room)
    shown = [v for v in values if can_show(v, log=axis.log)]
    assert all(50 - 1e-6 <= axis.at(v) <= 450 + 1e-6 for v in shown)


@given(FINITE, st.floats(1e-9, 1e12), st.booleans())
def test_ticks_are_few_round_ascending_and_told_apart(low: float, span: float, whole: bool) -> None:
    low, span = (float(round(low)), math.ceil(span)) if whole else (low, span)
    assume(span > 1e-9 * abs(low))
    ticks = Axis(low, low + span, 0.0, 1.0, whole=whole).ticks()
    assert len(ticks) <= 7
    assert all(low - span * 1e-6 <= value <= low + span * (1 + 1e-6) for value, _ in ticks)
    assert all(a < b for (a, _), (b, _) in itertools.pairwise(ticks))
    if abs(low) < 1e5 and span > 1e-3:
        assert len({text for _, text in ticks}) == len(ticks)
        assert all(math.isclose(float(text), value, rel_tol=1e-9, abs_tol=1e-12) for value, text in ticks)


def test_whole_axes_have_no_halves() -> None:
    assert [text for _, text in Axis(1.0, 3.0, 0.0, 1.0, whole=True).ticks()] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0.03, 2.5, ["0.05", "0.1", "0.2", "0.5", "1", "2"]),
        (1e-5, 1e-1, ["1e-05", "0.0001", "0.001", "0.01", "0.1"]),
    ],
)
def test_logarithmic_ticks_are_powers_of_ten_and_parts_of_them(
    low: float, high: float, texts: list[str]
) -> None:
    assert [text for _, text in Axis(low, high, 0.0, 1.0, log=True).ticks()][-len(texts) :] == texts


def test_logarithmic_axes_place_equal_ratios_equally_far_apart() -> None:
    axis = spanning([1.0, 100.0], start=0.0, end=2.0, log=True)
    assert axis.at(10.0) == pytest.approx(1.0)


def test_a_single_value_stands_in_the_middle() -> None:
    assert spanning([5.0], start=0.0, end=10.0).at(5.0) == pytest.approx(5.0)
    assert spanning([0.0, math.nan], start=0.0, end=10.0).at(0.0) == pytest.approx(5.0)
    assert spanning([], start=0.0, end=10.0).at(0.5) == pytest.approx(5.0)


def test_an_axis_with_no_positive_value_is_not_logarithmic() -> None:
    assert not spanning([-1.0, 0.0], start=0.0, end=1.0, log=True).log
