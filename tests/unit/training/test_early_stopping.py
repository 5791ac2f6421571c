"""The best epoch, and how long one waited for a better one."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from nnray.training.early_stopping import BestEpoch

VALUES = st.lists(st.floats(allow_nan=True, allow_infinity=False, width=32), min_size=1, max_size=20)


@given(VALUES)
def test_the_best_is_the_first_extreme_of_all_seen(values: list[float]) -> None:
    best = BestEpoch("val_loss")
    for epoch, value in enumerate(values, start=1):
        best.update(epoch, value)
    numbers = [value for value in values if not math.isnan(value)]
    if numbers:
        assert best.value == min(numbers)
        assert best.epoch == values.index(min(numbers)) + 1
    else:
        assert best.epoch == 0


@given(VALUES)
def test_the_mode_is_read_off_the_name_or_given(values: list[float]) -> None:
    down, up = BestEpoch("val_loss"), BestEpoch("val_gain", "max")
    for epoch, value in enumerate(values, start=1):
        assert down.update(epoch, value) == up.update(epoch, -value)
    assert down.waited == up.waited


def test_waiting_counts_epochs_without_a_gain() -> None:
    best = BestEpoch("val_accuracy")
    waits = []
    for epoch, value in enumerate([0.5, 0.6, 0.6, 0.59, 0.7, 0.1], start=1):
        best.update(epoch, value)
        waits.append(best.waited)
    assert waits == [0, 0, 1, 2, 0, 1]


def test_a_gain_below_min_delta_is_best_but_resets_no_patience() -> None:
    best = BestEpoch("val_accuracy", min_delta=0.1)
    best.update(1, 0.5)
    assert best.update(2, 0.55)
    assert (best.epoch, best.waited) == (2, 1)
    assert best.update(3, 0.65)
    assert best.waited == 0


def test_the_state_comes_back() -> None:
    best = BestEpoch("val_loss")
    best.update(1, 0.5)
    best.update(2, 0.7)
    other = BestEpoch("val_loss")
    other.load_state_dict(best.state_dict())
    assert other == best
