"""Noise from epsilon, epochs from a budget, and epsilon as dp-accounting has it."""

from __future__ import annotations

from typing import Any

import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st

from nnray.errors import ConfigError
from nnray.privacy.example.plan import make_plan

COMMON: dict[str, Any] = {"num_examples": 1000, "batch_size": 50, "delta": 1e-5, "accountant": "rdp"}


def directly(noise: float, rate: float, steps: int, delta: float) -> float:
    accountant = RdpAccountant()
    event = GaussianDpEvent(noise) if rate == 1 else PoissonSampledDpEvent(rate, GaussianDpEvent(noise))
    return float(accountant.compose(SelfComposedDpEvent(event, steps)).get_epsilon(delta))


@given(noise=st.floats(0.7, 4.0), batch=st.integers(1, 1200), epochs=st.integers(1, 20))
@settings(max_examples=25)
def test_epsilon_is_that_of_dp_accounting(noise: float, batch: int, epochs: int) -> None:
    plan = make_plan(**{**COMMON, "batch_size": batch}, epochs=epochs, noise_multiplier=noise)
    rate = min(1.0, batch / 1000)
    steps = max(1, round(1 / rate)) * epochs
    assert plan.epsilon(steps) == pytest.approx(directly(noise, rate, steps, 1e-5), rel=1e-6)
    assert (plan.epochs, plan.is_cut) == (epochs, False)


def test_a_published_value() -> None:
    """Opacus' tests and dp-accounting 0.6.0: REFERENCE.md."""
    plan = make_plan(
        num_examples=100,
        batch_size=4,
        epochs=90,
        delta=1e-5,
        accountant="rdp",
        noise_multiplier=1.5,
    )
    assert plan.epsilon(2250) == pytest.approx(7.3291, abs=1e-3)


def test_the_noise_keeps_to_epsilon_and_hardly_less_would() -> None:
    plan = make_plan(**COMMON, epochs=10, epsilon=2.0)
    assert plan.epsilon(200) <= 2.0
    assert directly(plan.noise_multiplier * 0.999, 0.05, 200, 1e-5) > 2.0
    assert (plan.epochs, plan.is_cut) == (10, False)


def test_a_budget_ends_training_before_the_epoch_that_would_exceed_it() -> None:
    plan = make_plan(**COMMON, epochs=100, epsilon=3.0, noise_multiplier=1.0)
    assert 0 < plan.epochs < 100 and plan.is_cut
    assert plan.epsilon(20 * plan.epochs) <= 3.0 < plan.epsilon(20 * (plan.epochs + 1))
    assert f"after {plan.epochs} of 100 epochs" in plan.describe()


def test_a_budget_that_lasts_ends_nothing() -> None:
    plan = make_plan(**COMMON, epochs=2, epsilon=50.0, noise_multiplier=1.0)
    assert plan.epochs == 2 and "budget" not in plan.describe()
    assert "one training example, added or removed" in plan.describe()


def test_a_budget_for_less_than_an_epoch_is_refused_with_the_figures() -> None:
    with pytest.raises(ConfigError, match=r"privacy.epsilon: 0.5 is less than .* noise_multiplier 0.6"):
        make_plan(**COMMON, epochs=10, epsilon=0.5, noise_multiplier=0.6)


def test_nothing_is_spent_before_the_first_step() -> None:
    assert make_plan(**COMMON, epochs=1, noise_multiplier=1.0).epsilon(0) == 0.0
