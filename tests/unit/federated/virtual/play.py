"""Runs in virtual time of the small federation of tests."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from nnray.federated.outcome import Failed, Outcome, RoundStart
from nnray.federated.rounds import RoundReport, RoundState
from nnray.federated.sampling import Cohort
from nnray.federated.strategies.fedbuff import fedbuff
from nnray.federated.strategy import Strategy, Vectors
from nnray.federated.virtual.asynchronous import async_rounds
from nnray.federated.virtual.devices import Devices
from nnray.federated.virtual.fleets import uniform
from nnray.federated.virtual.report import TimedReport
from nnray.federated.virtual.synchronous import timed_rounds
from nnray.federated.virtual.windows import Windows
from nnray.federated.weights import FlatModel
from tests.unit.federated.small import model, trainer

POPULATION = 6


class Local:
    """Trains clients in this process, cut as told, and fails those that are named."""

    def __init__(self, strategy: Strategy, *, workers: int = 1, norm: bool = False, **changes: Any) -> None:
        self.strategy, self.norm, self.states = strategy, norm, dict[int, Vectors]()
        changes |= {"batch_size": 3} if norm else {}  # batch norm needs two examples in every batch
        self._trainers = [trainer(model(7, norm=norm), strategy, **changes) for _ in range(workers)]
        self.calls: list[tuple[int, tuple[int, ...]]] = []
        self.starts: list[RoundStart] = []
        self.fails: Callable[[int, int], bool] = lambda client, call: False

    def __call__(self, start: RoundStart, clients: Sequence[int]) -> Outcome:
        self.calls.append((start.round, tuple(clients)))
        self.starts.append(start)
        lost = [client for client in clients if self.fails(client, len(self.calls))]
        outcome = Outcome(failures=tuple(Failed(client, "gone") for client in lost))
        left = [client for client in clients if client not in lost]
        for place, trains in enumerate(self._trainers):
            outcome = trains.run(start, left[place :: len(self._trainers)], states=self.states) + outcome
        return outcome


def begin(strategy: Strategy, *, norm: bool = False) -> RoundState:
    weights = FlatModel(model(norm=norm)).weights()
    return RoundState(0, weights, strategy.server_state(weights.params))


def same(num: int = POPULATION) -> Devices:
    return uniform(num, np.random.default_rng(0))


def unequal(*step_s: float, dropout: float = 0.0, windows: Windows | None = None) -> Devices:
    """Devices without links to speak of."""
    num = len(step_s)
    fast = np.full(num, np.inf)
    return Devices(
        step_s=np.array(step_s), down=fast, up=fast, dropout=np.full(num, dropout), windows=windows
    )


def cohort(*chosen: int, spares: Sequence[int] = ()) -> Cohort:
    return Cohort(np.array(chosen, dtype=np.int64), np.array(spares, dtype=np.int64))


def asynchronous(
    train: Local | None = None,
    *,
    num: int = 4,
    state: RoundState | None = None,
    devices: Devices | None = None,
    num_steps: Callable[[int], int] = lambda client: 1,
    **options: Any,
) -> list[TimedReport]:
    return list(steps(train, num=num, state=state, devices=devices, num_steps=num_steps, **options))


def steps(
    train: Local | None = None,
    *,
    num: int = 4,
    state: RoundState | None = None,
    devices: Devices | None = None,
    num_steps: Callable[[int], int] = lambda client: 1,
    **options: Any,
) -> Iterator[TimedReport]:
    train = train or Local(fedbuff())
    for report in async_rounds(
        state or begin(train.strategy, norm=train.norm),
        train.strategy,
        num_rounds=num,
        train_clients=train,
        devices=devices or unequal(1, 2, 3, 5, 8, 13),
        num_steps=num_steps,
        **{"concurrency": 3, "buffer": 2, "seed": 5} | options,
    ):
        train.states |= report.kept
        yield report


def synchronous(
    train: Local,
    *,
    num: int = 3,
    takes: Cohort,
    devices: Devices,
    state: RoundState | None = None,
    **options: Any,
) -> list[TimedReport]:
    return list(
        timed_rounds(
            state or begin(train.strategy),
            train.strategy,
            num_rounds=num,
            draw=lambda number: takes,
            train_clients=train,
            devices=devices,
            **{"num_steps": lambda client: 1} | options,
        )
    )


def through_a_file(state: RoundState) -> RoundState:
    """As a checkpoint brings it back."""
    file = io.BytesIO()
    torch.save(dict(state.server), file)
    file.seek(0)
    return replace(state, server=torch.load(file, weights_only=True))


def bits_of(report: RoundReport) -> tuple[Any, ...]:
    weights = report.state.weights
    return weights.params.tolist(), weights.floats.tolist(), weights.ints.tolist()
