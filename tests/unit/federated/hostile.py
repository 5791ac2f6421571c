"""Rounds of a small federation, some of whose clients may be hostile, played by the engine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nnray.data.splits import DataInfo
from nnray.federated.client import ClientTrainer
from nnray.federated.holdings import Alter
from nnray.federated.outcome import Outcome, RoundStart
from nnray.federated.rounds import Policy, RoundReport, RoundState, rounds
from nnray.federated.sampling import Cohort
from nnray.federated.strategy import Strategy, Vectors
from nnray.federated.weights import FlatModel
from tests.unit.federated.small import examples, local, model, parts

NUM_CLIENTS = 9
EVERYBODY = tuple(range(NUM_CLIENTS))
IMAGES = DataInfo("images", (1, 6, 6), tuple("abcde"))
VECTORS = DataInfo("vectors", (4,), ("a", "b", "c"))


def mask(*attackers: int, num_clients: int = NUM_CLIENTS) -> NDArray[np.bool_]:
    """Who is an attacker."""
    found = np.zeros(num_clients, dtype=np.bool_)
    found[list(attackers)] = True
    return found


def begin(strategy: Strategy, *, norm: bool = False) -> RoundState:
    """Before the first round."""
    weights = FlatModel(model(norm=norm)).weights()
    return RoundState(0, weights, strategy.server_state(weights.params))


def play(
    strategy: Strategy,
    *,
    num_rounds: int = 3,
    workers: int = 1,
    alter: Alter | None = None,
    cohort: Sequence[int] = EVERYBODY,
    state: RoundState | None = None,
    norm: bool = False,
    policy: Policy | None = None,
) -> list[RoundReport]:
    """The engine's rounds, by trainers that each have some of the clients."""
    data, clients = examples(135), parts(135, clients=NUM_CLIENTS)
    trainers = [
        ClientTrainer(
            model(7, norm=norm),
            strategy,
            examples=data,
            population=clients,
            local=local(batch_size=3),
            alter=alter,
        )
        for _ in range(workers)
    ]
    kept = dict[int, Vectors]()

    def train_clients(start: RoundStart, chosen: Sequence[int]) -> Outcome:
        outcome = Outcome()
        for place, trainer in enumerate(trainers):
            outcome = trainer.run(start, chosen[place::workers], states=kept) + outcome
        kept.update(outcome.kept)
        return outcome

    taken = Cohort(np.array(cohort, dtype=np.int64), np.array([], dtype=np.int64))
    ran = rounds(
        state or begin(strategy, norm=norm),
        strategy,
        num_rounds=num_rounds,
        draw=lambda number: taken,
        train_clients=train_clients,
        population=NUM_CLIENTS,
        policy=policy,
    )
    return list(ran)
