"""Laws that every schedule of the catalog obeys."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nnray.catalog import CATALOG
from nnray.registry import RUNTIME, parameters
from nnray.training.schedules import Schedule

SCHEDULES = sorted(CATALOG["schedule"])


def make(name: str, *, lr: float = 0.5, steps: int = 20, per_epoch: int = 5, **options: Any) -> Schedule:
    module, _, function = CATALOG["schedule"][name].partition(":")
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    build = getattr(import_module(module), function)
    made: Schedule = build(optimizer, num_steps=steps, steps_per_epoch=per_epoch, **options)
    return made


def run(schedule: Schedule, *, epochs: range, per_epoch: int = 5) -> list[float]:
    """The rate of each step; the validation loss never falls."""
    rates = []
    for _ in epochs:
        for _ in range(per_epoch):
            rates.append(schedule.lr)
            schedule.step()
        schedule.epoch_end(1.0)
    return rates


@pytest.mark.parametrize("name", SCHEDULES)
@given(lr=st.floats(1e-6, 1e3), warmup=st.sampled_from([0.0, 0.4, 1.0, 2.0]))
def test_rates_are_in_proportion_to_the_base_rate(name: str, lr: float, warmup: float) -> None:
    of_one = run(make(name, lr=1.0, warmup=warmup), epochs=range(4))
    assert run(make(name, lr=lr, warmup=warmup), epochs=range(4)) == pytest.approx([lr * r for r in of_one])


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_state_at_any_step_is_all_that_matters(name: str) -> None:
    options = {"patience": 1} if name == "plateau" else {}
    whole = run(make(name, **options), epochs=range(4))
    for stop in range(4):
        first, second = make(name, **options), make(name, **options)
        begun = run(first, epochs=range(stop))
        second.load_state_dict(first.state_dict())
        assert second.lr == first.lr
        assert second.state_dict() == first.state_dict()
        assert begun + run(second, epochs=range(stop, 4)) == whole


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_state_is_plain_numbers(name: str) -> None:
    state = make(name).state_dict()
    assert isinstance(state["steps"], int)
    assert all(isinstance(value, int | float) for value in state["plateau"].values())


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_full_rate_is_reached_and_never_passed(name: str) -> None:
    rates = run(make(name, steps=200, per_epoch=50), epochs=range(4), per_epoch=50)
    assert max(rates) == pytest.approx(0.5, rel=1e-3)
    assert max(rates) <= 0.5 * (1 + 1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_no_step_of_a_run_is_lost(name: str) -> None:
    rates = run(make(name, warmup=1.0), epochs=range(4))
    assert all(rate > 0.0 for rate in rates)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_key_has_a_type_and_a_line_of_help(name: str) -> None:
    keys = parameters("schedule", name)
    assert "warmup" in keys
    assert not set(RUNTIME) & keys.keys(), "nnray gives these, a file can't"
    for key, parameter in keys.items():
        assert parameter.type is not Any, key
        assert parameter.help, key
        assert not parameter.required, key
