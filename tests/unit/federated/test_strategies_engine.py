"""The engine's rounds of every strategy of the catalog, against the same taken one by one in float64."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch

from nnray.catalog import CATALOG
from nnray.federated.client import ClientTrainer
from nnray.federated.outcome import Outcome, RoundStart
from nnray.federated.rounds import RoundState, rounds
from nnray.federated.sampling import Cohort
from nnray.federated.strategy import Strategy, Vectors
from nnray.federated.weights import FlatModel
from nnray.registry import signature
from nnray.testing import means_of
from nnray.training.optimizers import adam
from tests.unit.federated.small import model, trainer

STRATEGIES = sorted(CATALOG["strategy"])
COHORTS = ([0, 2, 5], [1, 2, 3], [0, 4, 5], [2, 3, 5])


def flat(name: str) -> FlatModel:
    return FlatModel(model(norm=name == "fedbn"))


def trainer_of(name: str, strategy: Strategy) -> ClientTrainer:
    """Of a model with other weights; batch norm can't have a batch of one."""
    options = {"batch_size": None} if name == "fedbn" else {}
    return trainer(model(7, norm=name == "fedbn"), strategy, **options)


def make(name: str) -> Strategy:
    module, _, function = CATALOG["strategy"][name].partition(":")
    options: dict[str, Any] = {"server_optimizer": partial(adam, lr=0.01)} if name == "fedopt" else {}
    if "slots" in signature("strategy", name).runtime:
        options["slots"] = flat(name).slots
    made: Strategy = getattr(import_module(module), function)(**options)
    return made


def begin(name: str, strategy: Strategy) -> RoundState:
    weights = flat(name).weights()
    return RoundState(0, weights, strategy.server_state(weights.params))


def by_engine(name: str) -> RoundState:
    strategy = make(name)
    trains, kept = trainer_of(name, strategy), dict[int, Vectors]()

    def train_clients(start: RoundStart, clients: Sequence[int]) -> Outcome:
        outcome = trains.run(start, clients, states=kept)
        assert not outcome.failures, outcome.failures
        kept.update(outcome.kept)
        return outcome

    ran = rounds(
        begin(name, strategy),
        strategy,
        num_rounds=len(COHORTS),
        draw=lambda number: Cohort(np.array(COHORTS[number - 1]), np.array([], dtype=np.int64)),
        train_clients=train_clients,
        population=6,
    )
    return list(ran)[-1].state


def one_by_one(name: str) -> torch.Tensor:
    strategy = make(name)
    trains = trainer_of(name, strategy)
    state, kept = begin(name, strategy), dict[int, Vectors]()
    params, server = state.weights.params, state.server
    for number, cohort in enumerate(COHORTS, start=1):
        start, sent = RoundStart(round=number, weights=state.weights.with_params(params), server=server), []
        for client in cohort:
            own = kept.get(client, {})
            sent.append(strategy.message(trains.train(start, client, state=own), server=server, client=own))
        kept |= {client: message.kept for client, message in zip(cohort, sent, strict=True)}
        params, server = strategy.step(params, means_of(sent, population=6), server=server)
    return params


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_engine_comes_to_the_same_as_one_by_one(name: str) -> None:
    expected = one_by_one(name)
    torch.testing.assert_close(by_engine(name).weights.params, expected, rtol=1e-5, atol=1e-6)
    moved = float((expected - flat(name).weights().params).abs().max())
    assert moved == 0.0 if name == "local" else moved > 1e-3
