"""FedBuff and FedAsync against loops that are written out from the papers, on one weight and a made-up loss.

Each client pulls the weight towards a number of its own by one step of SGD on (w - target)^2 / 2. Who comes
when is worked out by hand below.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from nnray.errors import ConfigError
from nnray.federated.exact import to_sums
from nnray.federated.outcome import ClientReport, Outcome, RoundStart
from nnray.federated.rounds import RoundState
from nnray.federated.strategies.fedasync import fedasync
from nnray.federated.strategies.fedbuff import fedbuff
from nnray.federated.strategy import ClientUpdate, Strategy
from nnray.federated.virtual.asynchronous import async_rounds
from nnray.federated.virtual.devices import Devices
from nnray.federated.virtual.report import TimedReport
from nnray.federated.weights import Weights

TARGETS = (4.0, -2.0, 7.0)
LR = 0.25
NONE = torch.zeros(0)


def played(strategy: Strategy, *, step_s: Sequence[float], num: int, **options: int) -> list[TimedReport]:
    """Runs all three clients at once; client i takes so many seconds."""

    def train(start: RoundStart, clients: Sequence[int]) -> Outcome:
        outcome = Outcome()
        for client in clients:
            delta = -LR * (start.weights.params - TARGETS[client])
            update = ClientUpdate(client, 1, 1, LR, 0.0, delta, 0.0, 0.0, start.round)
            message = strategy.message(update, server=start.server, client={})
            report = ClientReport(client, 1, 1, 0.0, 0.0)
            sums = to_sums(message, start.bits, room=start.room)
            outcome = outcome + Outcome(sums, torch.zeros(0, dtype=torch.int64), (report,))
        return outcome

    fast = np.full(3, np.inf)
    devices = Devices(step_s=np.array(step_s), down=fast, up=fast, dropout=np.zeros(3))
    weights = Weights(torch.zeros(1), NONE, torch.zeros(0, dtype=torch.int64))
    state = RoundState(0, weights, strategy.server_state(weights.params))
    return list(
        async_rounds(
            state, strategy, num_rounds=num, train_clients=train, devices=devices,
            num_steps=lambda client: 1, concurrency=3, **options,
        )
    )  # fmt: skip


def weights_of(reports: Sequence[TimedReport]) -> list[float]:
    return [float(report.state.weights.params) for report in reports]


# Devices of 1, 2.5 and 4.2 seconds; everybody always works: there are three places for three clients.
# Client 0 comes at 1, 2, 3, ..., client 1 at 2.5 and 5, client 2 at 4.2; in a buffer of one each begins
# again at once with what its own update made. At 5, client 1 is first: it began before. (Who, its version.)
STEPS = (1.0, 2.5, 4.2)
ONE_BY_ONE = [(0, 0), (0, 1), (1, 0), (0, 2), (0, 4), (2, 0), (1, 3), (0, 5)]


@pytest.mark.parametrize(
    ("options", "discount"),
    [
        ({}, lambda s: (1 + s) ** -0.5),
        ({"exponent": 2.0}, lambda s: (1 + s) ** -2.0),
        (
            {"staleness": "hinge", "slope": 0.5, "grace": 1},
            lambda s: 1 if s <= 1 else 1 / (0.5 * (s - 1) + 1),
        ),
        ({"staleness": "constant", "alpha": 0.9}, lambda s: 1),
    ],
)
def test_fedasync_mixes_weights_as_in_the_paper(options: dict[str, Any], discount: Any) -> None:
    """Source: Xie et al. 2019, algorithm 1: x_t = (1 - alpha_t) x_{t-1} + alpha_t x_new."""
    reports = played(fedasync(mu=0.0, **options), step_s=STEPS, num=8, buffer=1)
    alpha, path = options.get("alpha", 0.6), [0.0]
    for t, (client, version) in enumerate(ONE_BY_ONE):
        new = path[version] - LR * (path[version] - TARGETS[client])
        share = alpha * discount(t - version)
        path.append((1 - share) * path[-1] + share * new)
    assert [report.reports[0].client for report in reports] == [client for client, _ in ONE_BY_ONE]
    assert [report.staleness[0] for report in reports] == [t - v for t, (_, v) in enumerate(ONE_BY_ONE)]
    assert weights_of(reports) == pytest.approx(path[1:], rel=1e-5)


# With a buffer of two, who waits does not work: client 0 comes at 1 and client 1 at 2.5 (step 1); both
# begin again then. Client 0 at 3.5, client 2 at 4.2 (step 2), client 1 at 5, client 0 at 5.2 (step 3).
IN_TWOS = [[(0, 0), (1, 0)], [(0, 1), (2, 0)], [(1, 1), (0, 2)]]


@pytest.mark.parametrize("options", [{}, {"lr": 0.5, "momentum": 0.4}, {"exponent": 0.0}])
def test_fedbuff_adds_discounted_changes_as_in_the_paper(options: dict[str, float]) -> None:
    """Source: Nguyen et al. 2022, algorithm 1: the mean of changes times 1 / sqrt(1 + staleness)."""
    reports = played(fedbuff(**options), step_s=STEPS, num=3, buffer=2)
    path, velocity = [0.0], 0.0
    for t, buffer in enumerate(IN_TWOS):
        change = 0.0
        for client, version in buffer:
            scale = (1 + t - version) ** -options.get("exponent", 0.5)
            change += scale * -LR * (path[version] - TARGETS[client]) / 2
        velocity = options.get("momentum", 0.0) * velocity + change
        path.append(path[-1] + options.get("lr", 1.0) * velocity)
    assert [sorted(dict(buffer)) for buffer in IN_TWOS] == [[c.client for c in r.reports] for r in reports]
    assert [report.virtual_time for report in reports] == [2.5, 4.2, 5.2]
    assert weights_of(reports) == pytest.approx(path[1:], rel=1e-5)


def test_fedasync_of_a_larger_buffer_is_the_mean_of_its_steps() -> None:
    reports = played(fedasync(mu=0.0), step_s=STEPS, num=3, buffer=2)
    path = [0.0]
    for t, buffer in enumerate(IN_TWOS):
        steps = []
        for client, version in buffer:
            new = path[version] - LR * (path[version] - TARGETS[client])
            steps.append(0.6 * (1 + t - version) ** -0.5 * (new - path[-1]))
        path.append(path[-1] + sum(steps) / 2)
    assert weights_of(reports) == pytest.approx(path[1:], rel=1e-5)


def test_clients_of_fedasync_are_held_back_to_where_they_began() -> None:
    assert fedasync(mu=0.3).pull({}, {}).proximal == 0.3


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"alpha": 1.5}, r"strategy\.alpha: must be at most 1: it is a share \(got 1\.5\)"),
        (
            {"slope": 3.0},
            r"strategy\.slope: is of staleness 'hinge': leave it out \(got 3\.0 for 'polynomial'\)",
        ),
        ({"grace": 0}, "strategy.grace"),
        ({"staleness": "hinge", "exponent": 1.0}, "strategy.exponent: is of staleness 'polynomial'"),
    ],
)
def test_keys_of_another_discount_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        fedasync(**options)
