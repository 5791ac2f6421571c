"""Under a heavy tail, a buffer reaches the target in less virtual time than cohorts do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytest
import torch
from torch import nn

from nnray.data.digits import digits
from nnray.data.splits import Examples
from nnray.federated.client import ClientTrainer
from nnray.federated.outcome import Outcome, RoundStart
from nnray.federated.rounds import RoundState
from nnray.federated.sampling import uniform as uniform_cohort
from nnray.federated.strategies.fedasync import fedasync
from nnray.federated.strategies.fedavg import fedavg
from nnray.federated.strategies.fedbuff import fedbuff
from nnray.federated.strategy import Strategy
from nnray.federated.virtual.asynchronous import async_rounds
from nnray.federated.virtual.devices import Devices
from nnray.federated.virtual.fleets import pareto, uniform
from nnray.federated.virtual.report import TimedReport
from nnray.federated.virtual.synchronous import timed_rounds
from nnray.federated.weights import FlatModel
from nnray.seeding import numpy_rng
from tests.unit.federated.small import Clients, local

NUM_CLIENTS, COHORT, TARGET, MOST = 60, 10, 0.9, 200


def linear() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


class World:
    """The digits in equal parts for all clients, and a linear model."""

    def __init__(self, strategy: Strategy, *, seed: int) -> None:
        splits = digits()
        assert isinstance(splits.train, Examples) and splits.test is not None
        test = splits.test()
        assert isinstance(test, Examples)
        self.test, self.strategy, self.seed = test, strategy, seed
        order = np.random.default_rng(seed).permutation(len(splits.train))
        self.trainer = ClientTrainer(
            linear(),
            strategy,
            examples=splits.train,
            population=Clients([part.tolist() for part in np.array_split(order, NUM_CLIENTS)]),
            local=local(batch_size=8, seed=seed),
        )

    def train(self, start: RoundStart, clients: Sequence[int]) -> Outcome:
        return self.trainer.run(start, clients, states={})

    def begin(self) -> RoundState:
        weights = FlatModel(linear()).weights()
        return RoundState(0, weights, self.strategy.server_state(weights.params))

    def time_to_target(self, reports: Iterable[TimedReport]) -> float:
        """Virtual seconds; endless where it is not reached."""
        for report in reports:
            flat = self.trainer.flat
            flat.load(report.state.weights)
            flat.module.eval()
            with torch.no_grad():
                right = flat.module(self.test.inputs).argmax(1) == self.test.targets
            if float(right.float().mean()) >= TARGET:
                return report.virtual_time
        return float("inf")


def cohorts(devices: Devices, *, seed: int, deadline_s: float | None = None) -> float:
    world = World(fedavg(), seed=seed)
    return world.time_to_target(
        timed_rounds(
            world.begin(), world.strategy, num_rounds=MOST, devices=devices, train_clients=world.train,
            draw=lambda n: uniform_cohort(NUM_CLIENTS, numpy_rng(seed, "cohort", n), cohort=COHORT),
            num_steps=lambda client: 3, deadline_s=deadline_s, seed=seed,
        )
    )  # fmt: skip


def buffered(devices: Devices, strategy: Strategy, *, seed: int, buffer: int) -> float:
    world, most = World(strategy, seed=seed), MOST * COHORT // buffer
    return world.time_to_target(
        async_rounds(
            world.begin(), strategy, num_rounds=most, devices=devices, train_clients=world.train,
            num_steps=lambda client: 3, concurrency=COHORT, buffer=buffer, seed=seed,
        )
    )  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_under_a_heavy_tail_a_buffer_is_faster_than_cohorts_with_as_many_at_work(seed: int) -> None:
    devices = pareto(NUM_CLIENTS, np.random.default_rng(seed), shape=1.1)
    waiting = cohorts(devices, seed=seed)
    assert waiting < float("inf")
    for strategy, buffer in ((fedbuff(), 5), (fedasync(), 1)):
        assert buffered(devices, strategy, seed=seed, buffer=buffer) < waiting / 2


def test_with_equal_devices_a_buffer_of_the_cohort_takes_the_same_time() -> None:
    """But for the eight bytes of a message that say how much it is discounted."""
    devices = uniform(NUM_CLIENTS, np.random.default_rng(0))
    one = cohorts(devices, seed=0)
    other = buffered(devices, fedbuff(weighting="examples"), seed=0, buffer=COHORT)
    assert one < other == pytest.approx(one, rel=1e-3)


def test_a_deadline_is_faster_than_waiting_for_the_slowest() -> None:
    devices = pareto(NUM_CLIENTS, np.random.default_rng(0), shape=1.1)
    within = float(np.quantile(devices.step_s, 0.8)) * 3 + 0.1
    assert cohorts(devices, seed=0, deadline_s=within) < cohorts(devices, seed=0)
