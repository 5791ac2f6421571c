"""An attack on the mechanism: it proves less than was claimed, and more once the noise is off."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from nnray.federated.sampling import poisson
from nnray.federated.strategies.fedavg import fedavg
from nnray.federated.strategy import ClientUpdate, Means, Vectors
from nnray.privacy.accounting import Trees, epsilon_of
from nnray.privacy.audit import empirical_epsilon, epsilon_bound, interval
from nnray.privacy.client import Noise, Private
from nnray.privacy.clipping import Clipping
from nnray.seeding import numpy_rng, torch_rng
from nnray.testing import means_of

CANARIES, DELTA = 1000, 1e-5
NO_NOISE = 1e-9


def canary(client: int) -> tuple[int, float]:
    """An example by itself: the only one with this feature, of either label."""
    return client, 1.0 if client * 7919 % 13 < 6 else -1.0


def loss(weights: Tensor, client: int) -> float:
    """Logistic loss of a linear model on a canary."""
    feature, label = canary(client)
    return float(softplus(-label * weights[feature].double()))


def trained_on(client: int, weights: Tensor, *, round_: int) -> ClientUpdate:
    """A client of one example takes a large step on it: clipping is what bounds it."""
    feature, label = canary(client)
    delta = torch.zeros_like(weights)
    delta[feature] = 50.0 * label * torch.sigmoid(-label * weights[feature])
    return ClientUpdate(client, 1, 1, 0.1, 0.0, delta, loss(weights, client), math.nan, round_)


def losses_after(strategy: Private, *, rounds: int, rate: float) -> tuple[list[float], list[float]]:
    """Train on half of the canaries, drawn by lot; losses of those, and of the rest."""
    drawn = torch.rand(CANARIES, generator=torch_rng(5, "members")) < 0.5
    members = [client for client in range(CANARIES) if drawn[client]]
    weights = torch.zeros(CANARIES)
    server = strategy.server_state(weights)
    kept: dict[int, Vectors] = {}
    for number in range(1, rounds + 1):
        rng = numpy_rng(3, "cohort", number)
        chosen = poisson(CANARIES, rng, cohort=round(rate * CANARIES)).chosen
        cohort = [int(client) for client in chosen if drawn[client]]
        sent = {}
        for client in cohort:
            update = trained_on(client, weights, round_=number)
            sent[client] = strategy.message(update, server=server, client=kept.get(client, {}))
            kept[client] = sent[client].kept
        means = means_of(list(sent.values()), population=CANARIES) if sent else Means({}, {}, 0, CANARIES)
        weights, server = strategy.step(weights, replace(means, round=number), server=server)
    others = [client for client in range(CANARIES) if not drawn[client]]
    return [loss(weights, client) for client in members], [loss(weights, client) for client in others]


def audited(share: float, *, noise: float, rounds: int, rate: float, **options: Any) -> tuple[float, float]:
    """The epsilon that an attack proves where only a share of the noise is added, and the one claimed."""
    by = options.pop("by", "flat")
    cohort = rate * CANARIES

    def private(multiplier: float) -> Private:
        made = Noise(multiplier=multiplier, cohort=cohort, **options)
        return Private(fedavg(), clipping=Clipping(norm=1.0, by=by), noise=made, seed=11)

    claimed = epsilon_of([replace(private(noise).phase(rate=rate), steps=rounds)], delta=DELTA)
    members, others = losses_after(private(noise * share), rounds=rounds, rate=rate)
    return empirical_epsilon(members, others, delta=DELTA), claimed


# What is claimed is well below what an attack on so few canaries can prove at best, which is 4.2.
MECHANISMS: list[dict[str, Any]] = [
    {"noise": 1.5, "rounds": 1, "rate": 1.0},
    {"noise": 1.0, "rounds": 10, "rate": 0.1},
    {"noise": 1.0, "rounds": 10, "rate": 0.1, "by": "adaptive"},
    {"noise": 1.0, "rounds": 10, "rate": 0.1, "at": "clients", "least_clients": 10},
    {"noise": 3.0, "rounds": 4, "rate": 1.0, "trees": Trees(4)},
]


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=str)
def test_an_attack_proves_less_than_was_claimed(mechanism: dict[str, Any]) -> None:
    proven, claimed = audited(1.0, **mechanism)
    assert proven <= claimed


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=str)
def test_with_the_noise_off_it_proves_more_than_was_claimed(mechanism: dict[str, Any]) -> None:
    proven, claimed = audited(NO_NOISE, **mechanism)
    assert proven > claimed


def test_the_attack_is_no_empty_one() -> None:
    """With noise as claimed it proves something: an audit that proves 0 would let much through."""
    proven, claimed = audited(1.0, noise=1.0, rounds=1, rate=1.0)
    assert 0.5 < proven < claimed


def test_noise_that_is_far_too_weak_is_found_out() -> None:
    """A mechanism with a tenth of the noise that it claims."""
    proven, claimed = audited(0.1, **MECHANISMS[0])
    assert proven > claimed


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.3085), (10, 10, 0.6915, 1.0), (5, 10, 0.1871, 0.8129), (1, 20, 0.0013, 0.2487)],
)
def test_intervals_are_those_of_the_tables(successes: int, trials: int, low: float, high: float) -> None:
    """Clopper and Pearson's 95 % intervals, as printed in tables of them."""
    assert interval(successes, trials, tail=0.025) == pytest.approx((low, high), abs=1e-4)


def test_perfect_attacks_prove_more_the_more_canaries_there_are() -> None:
    proven = [epsilon_bound((n, n), (0, n), delta=DELTA) for n in (10, 100, 1000)]
    assert proven == sorted(proven)
    # The interval of no alarms ends at 1 - tail ** (1 / n); that of all hits begins as far below 1.
    miss = 1 - 0.025 ** (1 / 1000)
    assert proven[-1] == pytest.approx(math.log((1 - miss - DELTA) / miss))


def test_guessing_proves_nothing() -> None:
    assert epsilon_bound((50, 100), (50, 100), delta=DELTA) == 0.0
    scores = torch.rand(400, generator=torch_rng(1, "scores")).tolist()
    assert empirical_epsilon(scores[:200], scores[200:], delta=DELTA) < 0.3


def test_either_kind_of_error_counts() -> None:
    assert epsilon_bound((500, 1000), (0, 1000), delta=DELTA) > 4.0
    assert epsilon_bound((1000, 1000), (500, 1000), delta=DELTA) > 4.0
