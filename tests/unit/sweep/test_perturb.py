"""Hyperparameters that change in mid-training."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.config import Range
from nnray.runners.sweep.perturb import drawn, mutable_paths, obstacle, perturbed

RANGES = [
    Range.model_validate(range_)
    for range_ in (
        {"uniform": [0.0, 0.9]},
        {"uniform": [-2.0, 3.0]},
        {"uniform": [0.1, 1.0], "step": 0.25},
        {"loguniform": [1e-5, 1.0]},
        {"int": [0, 9]},
        {"int": [-9, 9], "step": 4},
        {"logint": [1, 512]},
        {"choice": [16, 32, 64]},
        {"choice": [True, 1, None, "a", [0.9, 0.99]]},
    )
]
RNGS = st.integers(0, 2**16).map(random.Random)


class Fixed(random.Random):
    """Gives these numbers, one after another."""

    def __init__(self, *numbers: float) -> None:
        super().__init__()
        self.numbers = list(numbers)

    def random(self) -> float:
        return self.numbers.pop(0)


def move(value: Any, *, up: bool, **range_: Any) -> Any:
    rng = Fixed(0.9, 0.2 if up else 0.8)
    return perturbed(value, Range.model_validate(range_), resample_probability=0.5, rng=rng)


@pytest.mark.parametrize("range_", RANGES, ids=lambda r: f"{r.kind}-{r.samples}")
@given(rng=RNGS, probability=st.sampled_from([0.0, 0.5, 1.0]))
def test_what_comes_out_is_in_the_range_and_of_its_type(
    range_: Range, rng: random.Random, probability: float
) -> None:
    value = drawn(range_, rng=rng)
    for _ in range(20):
        assert range_.holds(value), value
        assert range_.choice is not None or isinstance(value, int if range_.is_int else float)
        value = perturbed(value, range_, resample_probability=probability, rng=rng)


@pytest.mark.parametrize("range_", RANGES, ids=lambda r: f"{r.kind}-{r.samples}")
def test_draws_reach_the_whole_range(range_: Range) -> None:
    rng = random.Random(0)
    values = [drawn(range_, rng=rng) for _ in range(2000)]
    if range_.choice is not None:
        assert all(any(value is choice or value == choice for value in values) for choice in range_.choice)
    elif range_.is_int and not range_.is_log:
        assert {range_.low, max(values)} <= set(values)
        assert max(values) + (range_.step or 1) > range_.high
    else:
        span = (range_.high - range_.low) * 0.2
        assert min(values) < range_.low + span
        assert max(values) > range_.high - (range_.step or span)


def test_draws_are_even_over_the_logarithm_where_the_range_says_so() -> None:
    rng, range_ = random.Random(0), Range.model_validate({"loguniform": [1e-4, 1.0]})
    logs = [math.log10(drawn(range_, rng=rng)) for _ in range(4000)]
    for low in (-4, -3, -2, -1):
        assert 0.22 < sum(low <= log < low + 1 for log in logs) / len(logs) < 0.28


@pytest.mark.parametrize(
    ("value", "up", "range_", "expected"),
    [
        (0.5, True, {"uniform": [0.0, 1.0]}, 0.6),
        (0.5, False, {"uniform": [0.0, 1.0]}, 0.4),
        (0.9, True, {"uniform": [0.0, 1.0]}, 1.0),
        (1, False, {"uniform": [0.0, 1.0]}, 0.8),
        (1.2e-4, False, {"loguniform": [1e-4, 1.0]}, 1e-4),
        (-1.0, True, {"uniform": [-2.0, 2.0]}, -1.2),
        (10, True, {"int": [0, 100]}, 12),
        (10, False, {"int": [0, 100]}, 8),
        (2, True, {"int": [0, 9]}, 3),
        (2, False, {"int": [0, 9]}, 1),
        (0, True, {"int": [0, 9]}, 1),
        (0, False, {"int": [0, 9]}, 0),
        (9, True, {"int": [0, 9]}, 9),
        (-2, True, {"int": [-9, 9]}, -3),
        (64, True, {"logint": [1, 512]}, 77),
        (32, True, {"int": [16, 128], "step": 16}, 48),
        (0.5, True, {"uniform": [0.0, 1.0], "step": 0.5}, 1.0),
        (32, True, {"choice": [16, 32, 64]}, 64),
        (32, False, {"choice": [16, 32, 64]}, 16),
        (64, True, {"choice": [16, 32, 64]}, 64),
        (1, True, {"choice": [True, 1, False]}, False),
    ],
)
def test_moves_by_hand(value: Any, up: bool, range_: Mapping[str, Any], expected: Any) -> None:
    moved = move(value, up=up, **range_)
    assert moved == pytest.approx(expected)
    assert type(moved) is type(expected)


def test_the_share_of_draws_is_what_was_asked_for() -> None:
    rng, range_ = random.Random(0), Range.model_validate({"uniform": [0.0, 1.0]})
    moved = [perturbed(0.5, range_, resample_probability=0.25, rng=rng) for _ in range(4000)]
    assert 0.23 < sum(value not in (0.4, 0.6) for value in moved) / len(moved) < 0.27


def space(**ranges: Any) -> dict[str, Range]:
    paths = {path.replace("__", "."): range_ for path, range_ in ranges.items()}
    return {path: Range.model_validate(range_) for path, range_ in paths.items()}


def test_paths_that_change_by_default_are_those_of_a_step() -> None:
    given = space(
        optimizer__name={"choice": ["sgd", "adam"]},
        optimizer__lr={"loguniform": [1e-4, 1.0]},
        optimizer__nesterov={"choice": [True, False]},
        schedule__name={"choice": ["cosine", "constant"]},
        schedule__warmup={"int": [0, 3]},
        training__batch_size={"choice": [16, 32]},
        training__epochs={"int": [5, 9]},
        training__early_stopping__patience={"int": [1, 9]},
        training__precision={"choice": ["fp32", "fp16"]},
        training__ema_decay={"uniform": [0.9, 0.99]},
        model__name={"choice": ["mlp", "cnn"]},
        model__dropout={"uniform": [0.0, 0.5]},
        model__width={"logint": [8, 64]},
        model__activation={"choice": ["relu", "tanh"]},
        data__augment__0__degrees={"uniform": [0, 30]},
    )
    assert mutable_paths(given) == [
        "optimizer.lr",
        "optimizer.nesterov",
        "schedule.warmup",
        "training.batch_size",
        "training.ema_decay",
        "model.dropout",
    ]


def test_an_average_that_may_be_none_does_not_come_and_go() -> None:
    assert mutable_paths(space(training__ema_decay={"choice": [None, 0.99]})) == []


def test_a_choice_that_others_depend_on_stays() -> None:
    """So the paths that are tried are those of the trial whose weights are taken."""
    given = space(
        optimizer__nesterov={"choice": [True, False]},
        optimizer__momentum={"uniform": [0.5, 0.9], "when": {"optimizer.nesterov": True}},
    )
    assert mutable_paths(given) == ["optimizer.momentum"]
    assert obstacle("optimizer.nesterov", given) == "decides whether optimizer.momentum is tried"


@pytest.mark.parametrize("path", ["training.epochs", "training.early_stopping.patience", "schedule.name"])
def test_some_paths_can_never_change(path: str) -> None:
    assert obstacle(path, {path: Range.model_validate({"int": [1, 9]})})
