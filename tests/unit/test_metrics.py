"""Sums merge as addition does; quotients are those of the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnray.metrics import MetricSums, better, merge, mode_of, to_sums

# Whole numbers add up without rounding, so that laws hold to the bit.
PARTS = st.lists(
    st.tuples(st.lists(st.integers(-9, 9), min_size=3, max_size=3), st.integers(0, 50)), max_size=6
)


def part(values: list[int], count: int) -> MetricSums:
    return to_sums({"loss": values[0], "rows": values} if count else {}, count)


def same(a: MetricSums, b: MetricSums) -> bool:
    equal = all(np.array_equal(a.sums[k], b.sums[k]) for k in a.sums)
    return a.count == b.count and a.sums.keys() == b.sums.keys() and equal


@given(parts=PARTS, cut=st.integers(0, 6))
def test_merging_is_associative(parts: list[tuple[list[int], int]], cut: int) -> None:
    sums = [part(*values) for values in parts]
    assert same(merge(sums), merge([merge(sums[:cut]), merge(sums[cut:])]))


@given(parts=PARTS)
def test_merging_is_commutative(parts: list[tuple[list[int], int]]) -> None:
    sums = [part(*values) for values in parts]
    assert same(merge(sums), merge(reversed(sums)))


def test_nothing_is_the_neutral_element() -> None:
    some = to_sums({"loss": 2.0}, 4)
    assert same(some + MetricSums(), some)
    assert same(MetricSums() + some, some)
    assert merge([]).count == 0


def test_a_mean_is_pooled_not_averaged_over_parts() -> None:
    merged = merge([to_sums({"loss": 10.0}, 1), to_sums({"loss": 0.0}, 4)])
    assert merged.mean("loss") == 2.0


def test_the_mean_of_nothing_is_nan() -> None:
    assert math.isnan(to_sums({"loss": 0.0}, 0).mean("loss"))


def test_parts_with_other_sums_are_a_defect() -> None:
    with pytest.raises(AssertionError):
        to_sums({"loss": 1.0}, 1) + to_sums({"error": 1.0}, 1)


@pytest.mark.parametrize("value", [torch.tensor([1, 2]), [1, 2], np.array([1.0, 2.0], np.float32)])
def test_sums_are_float64_whatever_they_were(value: object) -> None:
    sums = to_sums({"x": value}, 2)
    assert sums.sums["x"].dtype == np.float64
    assert sums.sums["x"].tolist() == [1, 2]


def test_merging_leaves_the_parts_as_they_were() -> None:
    one, two = to_sums({"x": [1.0]}, 1), to_sums({"x": [2.0]}, 1)
    merge([one, two, one])
    assert one.sums["x"].tolist() == [1.0]
    assert two.sums["x"].tolist() == [2.0]


NUMBERS = st.floats(allow_nan=False)


@given(a=NUMBERS, b=NUMBERS)
def test_of_two_numbers_at_most_one_is_better_and_the_modes_mirror_each_other(a: float, b: float) -> None:
    assert not (better("max", a, b) and better("max", b, a))
    assert better("max", a, b) == better("min", b, a)
    assert better("max", a, b) == (a > b)


@given(a=NUMBERS, mode=st.sampled_from(["min", "max"]))
def test_nan_beats_nothing_and_is_beaten_by_every_number(a: float, mode: str) -> None:
    assert not better(mode, math.nan, a)
    assert better(mode, a, math.nan)
    assert not better(mode, math.nan, math.nan)


def test_a_mode_that_isn_t_one_is_a_defect() -> None:
    with pytest.raises(AssertionError):
        better("most", 1.0, 2.0)


@pytest.mark.parametrize(
    ("metric", "mode"),
    [
        ("val_loss", "min"),
        ("val_ece", "min"),
        ("test_error", "min"),
        ("epoch_seconds", "min"),
        ("VAL_LOSS", "min"),
        ("val_mase", "min"),
        ("test_rmse", "min"),
        ("val_accuracy", "max"),
        ("f1_macro", "max"),
        ("precision_macro", "max"),
        ("lossless", "max"),
        ("val_f1_class_error", "max"),
    ],
)
def test_the_mode_is_read_off_the_name(metric: str, mode: str) -> None:
    assert mode_of(metric) == mode
