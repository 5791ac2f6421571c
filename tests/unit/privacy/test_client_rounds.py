"""Client-level privacy in the engine's rounds: exact to resume, the same for any number of workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from nnray.federated.outcome import Outcome, RoundStart
from nnray.federated.rounds import RoundReport, RoundState, rounds
from nnray.federated.sampling import Cohort, poisson
from nnray.federated.strategies.adaptive import fedadam
from nnray.federated.strategies.fedavg import fedavg
from nnray.federated.strategy import Vectors
from nnray.federated.weights import FlatModel
from nnray.privacy.accounting import Trees
from nnray.privacy.client import Noise, Private
from nnray.privacy.clipping import Clipping
from nnray.seeding import numpy_rng
from tests.unit.federated.small import Clients, model, parts, trainer

KINDS: list[dict[str, Any]] = [
    {},
    {"by": "per_layer"},
    {"by": "adaptive"},
    {"at": "clients", "least_clients": 2},
    {"trees": Trees(3)},
]


def private(*, multiplier: float = 0.5, norm: float = 0.2, by: Any = "flat", **noise: Any) -> Private:
    flat = FlatModel(model())
    made = Noise(multiplier=multiplier, cohort=3.0, **noise)
    inner = fedadam() if by == "adaptive" else fedavg()
    clipping = Clipping(norm=norm, by=by)
    return Private(inner, clipping=clipping, noise=made, seed=4, slots=flat.slots, size=len(flat.params))


def drawn(number: int) -> Cohort:
    """Each of the 6 clients by a toss of its own."""
    return poisson(6, numpy_rng(0, "cohort", number), cohort=3)


def nobody(number: int) -> Cohort:
    return Cohort(np.array([], dtype=np.int64), np.array([], dtype=np.int64))


def run(
    strategy: Private,
    *,
    num: int = 5,
    state: RoundState | None = None,
    states: dict[int, Vectors],
    **options: Any,
) -> Iterator[RoundReport]:
    """Rounds in this process, on so many made-up workers."""
    workers = options.pop("workers", 1)
    trainers = [
        trainer(model(7), strategy, clients=options.get("clients") or parts()) for _ in range(workers)
    ]
    options.pop("clients", None)

    def train(start: RoundStart, clients: Sequence[int]) -> Outcome:
        outcome = Outcome()
        for place, trains in enumerate(trainers):
            outcome = trains.run(start, clients[place::workers], states=states) + outcome
        states.update(outcome.kept)
        return outcome

    params = FlatModel(model()).weights()
    begin = RoundState(0, params, strategy.server_state(params.params))
    draw = options.pop("draw", drawn)
    return rounds(
        state or begin, strategy, num_rounds=num, draw=draw, train_clients=train, population=6, **options
    )


def bits(report: RoundReport) -> tuple[Any, ...]:
    server = {name: value.tolist() for name, value in report.state.server.items()}
    return report.state.weights.params.tolist(), server


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_bits_are_the_same_for_any_number_of_workers(kind: dict[str, Any]) -> None:
    found = [bits(list(run(private(**kind), workers=n, states={}))[-1]) for n in (1, 2, 4)]
    assert found.count(found[0]) == 3


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_rounds_go_on_where_they_stood(kind: dict[str, Any]) -> None:
    kept: dict[int, Vectors] = {}
    rounds_run = run(private(**kind), states=kept)
    reports = [next(rounds_run), next(rounds_run)]
    saved = dict(kept)
    reports += list(rounds_run)
    again = list(run(private(**kind), state=reports[1].state, states=saved))
    assert [bits(report) for report in again] == [bits(report) for report in reports[2:]]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_rounds_of_nobody_move_the_weights_by_noise(kind: dict[str, Any]) -> None:
    reports = list(run(private(**kind), num=2, draw=nobody, states={}))
    before = FlatModel(model())
    moved = reports[-1].state.weights.params - before.params
    for slot in before.slots:
        assert slot.of(moved).all()
    assert reports[-1].state.round == 2


def test_who_has_a_thousand_times_the_examples_moves_the_weights_no_further() -> None:
    """Clients of 1 and of 1000 examples: with either gone, the weights move by the clip over the cohort."""
    sizes = Clients([[0], [n % 60 for n in range(1000)]])
    found = {}
    for chosen in ([0, 1], [0], [1]):
        cohort = Cohort(np.array(chosen), np.array([], dtype=np.int64))
        report = next(
            run(private(norm=0.05), num=1, draw=lambda _, now=cohort: now, clients=sizes, states={})
        )
        found[tuple(chosen)] = report.state.weights.params.double()
    for alone in ((0,), (1,)):
        change = float((found[(0, 1)] - found[alone]).norm())
        assert change == pytest.approx(0.05 / 3.0, rel=1e-3)
        assert change <= 0.05 / 3.0 + 1e-6


def test_noise_in_the_engine_is_as_strong_as_claimed() -> None:
    """Over rounds to which nobody came, of all parameters."""
    reports = list(run(private(multiplier=2.0, norm=0.3), num=200, draw=nobody, states={}))
    slots = FlatModel(model()).slots
    weights = torch.stack([report.state.weights.params for report in reports]).double()
    moves = weights.diff(dim=0)
    every = torch.cat([slot.of(move).flatten() for move in moves for slot in slots])
    expected = 2.0 * 0.3 / 3.0
    assert float(every.std()) == pytest.approx(expected, rel=3 / (2 * len(every)) ** 0.5)
