"""Published epsilons, to 1e-3, and the inverse ones; and dp-accounting used directly."""

from __future__ import annotations

import math

import dp_accounting as dp
import hypothesis
import pytest
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st

from nnray.privacy.accounting import Accountant, Phase, Trees, epsilon, epsilon_of
from nnray.privacy.calibrate import noise_for, noise_of, steps_for

ACCOUNTANTS: dict[Accountant, type[dp.PrivacyAccountant]] = {"rdp": RdpAccountant, "pld": PLDAccountant}

# Noise multiplier, rate, steps, and epsilon at delta 1e-5: Opacus' tests (the first) and dp-accounting 0.6.0.
PUBLISHED: list[tuple[float, float, int, Accountant, float]] = [
    (1.5, 0.04, 2250, "rdp", 7.3291),
    (1.5, 0.04, 2250, "pld", 6.7688),
    (1.0, 0.01, 1000, "rdp", 2.1014),
    (1.0, 0.01, 1000, "pld", 1.8282),
    (1.0, 1.0, 1, "rdp", 4.7285),
    (1.0, 1.0, 1, "pld", 4.3772),
    (1.0, 0.1, 100, "rdp", 7.90),
]


@pytest.mark.parametrize(("noise", "rate", "steps", "accountant", "published"), PUBLISHED)
def test_epsilons_are_those_published(
    noise: float, rate: float, steps: int, accountant: Accountant, published: float
) -> None:
    found = epsilon(noise_multiplier=noise, rate=rate, steps=steps, delta=1e-5, accountant=accountant)
    assert found == pytest.approx(published, abs=5e-3 if published == 7.90 else 1e-3)


def test_a_cohort_of_a_fixed_size_costs_more_than_a_random_one() -> None:
    found = epsilon(noise_multiplier=1.0, rate=0.1, steps=100, delta=1e-5, accountant="rdp", sampling="fixed")
    assert found == pytest.approx(14.05, abs=5e-3)


@pytest.mark.parametrize(("accountant", "published"), [("rdp", 2.4224), ("pld", 2.2477)])
def test_noise_for_an_epsilon_is_that_published(accountant: Accountant, published: float) -> None:
    noise = noise_for(2.0, rate=0.1, steps=100, delta=1e-5, accountant=accountant)
    assert noise == pytest.approx(published, abs=1e-3)
    spent = epsilon(noise_multiplier=noise, rate=0.1, steps=100, delta=1e-5, accountant=accountant)
    assert 2.0 - 1e-4 <= spent <= 2.0


def test_one_gaussian_step_is_the_analytic_one() -> None:
    """Balle and Wang 2018, theorem 8: delta = Phi(1/2s - es) - exp(e) Phi(-1/2s - es)."""
    noise = 2.0
    found = epsilon(noise_multiplier=noise, rate=1.0, steps=1, delta=1e-6)
    phi = [
        0.5 * math.erfc(-x / math.sqrt(2))
        for x in (0.5 / noise - found * noise, -0.5 / noise - found * noise)
    ]
    assert phi[0] - math.exp(found) * phi[1] == pytest.approx(1e-6, rel=1e-2)


def directly(noise: float, rate: float, steps: int, delta: float, accountant: Accountant) -> float:
    """The epsilon as dp-accounting is used by itself."""
    accountant_of = ACCOUNTANTS[accountant]()
    event = dp.PoissonSampledDpEvent(rate, dp.GaussianDpEvent(noise))
    accountant_of.compose(dp.SelfComposedDpEvent(event, steps))
    return float(accountant_of.get_epsilon(delta))


NO_SHRINKING = (hypothesis.Phase.explicit, hypothesis.Phase.reuse, hypothesis.Phase.generate)
noises = st.floats(0.6, 20.0)
rates = st.floats(1e-3, 1.0)
step_counts = st.integers(1, 3000)
deltas = st.floats(1e-9, 1e-3)


@settings(max_examples=20, deadline=None, phases=NO_SHRINKING)
@given(noises, rates, step_counts, deltas)
def test_rdp_epsilons_are_those_of_dp_accounting(noise: float, rate: float, steps: int, delta: float) -> None:
    found = epsilon(noise_multiplier=noise, rate=rate, steps=steps, delta=delta, accountant="rdp")
    assert found == pytest.approx(directly(noise, rate, steps, delta, "rdp"), rel=1e-9)


@settings(max_examples=6, deadline=None, phases=NO_SHRINKING)
@given(st.floats(1.0, 20.0), st.floats(1e-3, 0.2), st.integers(1, 1000), deltas)
def test_pld_epsilons_are_those_of_dp_accounting(noise: float, rate: float, steps: int, delta: float) -> None:
    found = epsilon(noise_multiplier=noise, rate=rate, steps=steps, delta=delta, accountant="pld")
    assert found == pytest.approx(directly(noise, rate, steps, delta, "pld"), rel=1e-6)


@settings(max_examples=6, deadline=None, phases=NO_SHRINKING)
@given(st.floats(0.1, 20.0), st.floats(1e-3, 0.1), step_counts)
def test_the_noise_found_keeps_to_epsilon_and_hardly_less_does_not(
    target: float, rate: float, steps: int
) -> None:
    noise = noise_for(target, rate=rate, steps=steps, delta=1e-5, accountant="rdp")
    kept, broken = (
        epsilon(noise_multiplier=sigma, rate=rate, steps=steps, delta=1e-5, accountant="rdp")
        for sigma in (noise, noise * (1 - 1e-3))
    )
    assert kept <= target < broken


@settings(max_examples=5, deadline=None, phases=NO_SHRINKING)
@given(st.floats(0.5, 20.0), st.floats(0.8, 5.0), st.floats(1e-3, 0.1))
def test_the_steps_found_keep_to_epsilon_and_one_more_does_not(
    target: float, noise: float, rate: float
) -> None:
    steps = steps_for(target, noise_multiplier=noise, rate=rate, delta=1e-5, accountant="rdp")
    spent = [
        epsilon(noise_multiplier=noise, rate=rate, steps=n, delta=1e-5, accountant="rdp")
        for n in (steps, steps + 1)
    ]
    assert spent[0] <= target
    assert spent[1] > target or steps == 1_000_000


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 13, 16, 100])
def test_a_tree_of_one_participation_is_that_of_dp_accounting(steps: int) -> None:
    accountant = RdpAccountant(neighboring_relation=dp.NeighboringRelation.REPLACE_SPECIAL)
    accountant.compose(dp.SingleEpochTreeAggregationDpEvent(3.0, steps))
    tree = Phase(3.0, steps=steps, trees=Trees(restart_every=1000))
    found = epsilon_of([tree], delta=1e-5, accountant="rdp")
    assert found == pytest.approx(float(accountant.get_epsilon(1e-5)), rel=1e-9)


def test_trees_that_restart_are_composed() -> None:
    accountant = RdpAccountant(neighboring_relation=dp.NeighboringRelation.REPLACE_SPECIAL)
    for steps in (16, 16, 5):
        accountant.compose(dp.SingleEpochTreeAggregationDpEvent(3.0, steps))
    trees = Phase(3.0, steps=37, trees=Trees(restart_every=16))
    found = epsilon_of([trees], delta=1e-5, accountant="rdp")
    assert found == pytest.approx(float(accountant.get_epsilon(1e-5)), rel=1e-9)


def test_noise_of_a_tree_keeps_to_epsilon() -> None:
    tree = Phase(1.0, steps=100, trees=Trees(restart_every=10, max_participations=2))
    noise = noise_of(tree, 2.0, delta=1e-5)
    spent = epsilon_of([Phase(noise, steps=100, trees=tree.trees)], delta=1e-5)
    assert 2.0 - 1e-4 <= spent <= 2.0
