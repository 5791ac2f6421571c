"""A strategy that breaks a law is caught, and told which law it is."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from nnray.federated.strategies.fedavg import FedAvg, fedavg, moved
from nnray.federated.strategies.fedprox import fedprox
from nnray.federated.strategies.scaffold import Scaffold
from nnray.federated.strategy import ClientUpdate, Means, Message, Pull, Vectors, Weighted
from nnray.testing import LAWS, BrokenLaw, check_strategy, means_of


class Jumpy(FedAvg):
    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        return moved(params, means.vectors["delta"] + 1e-3), {}


class Decaying(FedAvg):
    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        return moved(0.99 * params, means.vectors["delta"]), {}


class FirstCounts(FedAvg):
    """Clients weigh less the later they send."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "count", 0)

    def weight(self, update: ClientUpdate) -> float:
        object.__setattr__(self, "count", self.count + 1)  # type: ignore[attr-defined]
        return 1.0 / self.count  # type: ignore[attr-defined, no-any-return]


class Counting(FedAvg):
    """Sends ever less."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "count", 0)

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        object.__setattr__(self, "count", self.count + 1)  # type: ignore[attr-defined]
        return Message({"delta": Weighted(update.delta / self.count)})  # type: ignore[attr-defined]


class Drawn(FedAvg):
    """Draws its rate when it is made."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "lr", float(torch.rand(())))

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        return moved(params, self.lr * means.vectors["delta"]), {}  # type: ignore[attr-defined]


class FirstMessage(FedAvg):
    collects = True

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        return moved(params, means.messages[0].vectors["delta"].value.double()), {}


class SumsUp(FedAvg):
    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        return moved(params, means.num_clients * means.vectors["delta"]), {}


class Hidden(FedAvg):
    """Momentum that is kept where a checkpoint doesn't find it."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "velocity", None)

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        before = self.velocity  # type: ignore[attr-defined]
        velocity = means.vectors["delta"] + (0.0 if before is None else 0.9 * before)
        object.__setattr__(self, "velocity", velocity)
        return moved(params, velocity), {}


class InPlace(FedAvg):
    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        return params.add_(means.vectors["delta"].float()), {}


class VariateInPlace(Scaffold):
    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        server["variate"].add_(means.vectors["variate"].float())
        return moved(params, means.vectors["delta"]), server


class ScalesDelta(FedAvg):
    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        return Message({"delta": Weighted(update.delta.mul_(0.5))})


class Normalised(FedAvg):
    """Divides by the length of a change, which may be zero."""

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        squared = update.delta.square().sum()
        return Message({"delta": Weighted(update.delta / squared.sqrt())})


class Overflows(FedAvg):
    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        return moved(params, torch.expm1(means.vectors["delta"])), {}


class Float64(FedAvg):
    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        return params + means.vectors["delta"], {}


class KeepsList(FedAvg):
    def server_state(self, params: Tensor) -> Vectors:
        return {"seen": [1, 2]}  # type: ignore[dict-item]


class KeepsUnsaid(FedAvg):
    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        return Message({"delta": Weighted(update.delta)}, kept={"last": update.delta})


class Negative(FedAvg):
    def weight(self, update: ClientUpdate) -> float:
        return -1.0


class Weightless(FedAvg):
    def weight(self, update: ClientUpdate) -> float:
        return 0.0


class Unasked(FedAvg):
    """Uses the start loss without saying so."""

    def weight(self, update: ClientUpdate) -> float:
        return update.start_loss


class PushesAway(FedAvg):
    def pull(self, server: Vectors, client: Vectors) -> Pull:
        return Pull(proximal=-1.0)


class ShortDrift(FedAvg):
    def pull(self, server: Vectors, client: Vectors) -> Pull:
        return Pull(drift=torch.zeros(3))


class Unshared(Scaffold):
    shared = ("c",)


class Mute(FedAvg):
    needs_start_loss = None  # type: ignore[assignment]


TYPES, PURE, FIXED, RESUME, ORDER, IDENTICAL, FINITE = LAWS


@pytest.mark.parametrize(
    ("make", "law", "says"),
    [
        (Float64, TYPES, "torch.float64, not torch.float32"),
        (KeepsList, TYPES, "'seen', which the server keeps: list, not a tensor"),
        (KeepsUnsaid, TYPES, "has_client_state is False"),
        (Negative, TYPES, "the weight of 'delta' is -1.0"),
        (Weightless, TYPES, "all clients together are zero"),
        (Unasked, TYPES, "is nan"),
        (PushesAway, TYPES, "proximal is -1.0"),
        (ShortDrift, TYPES, r"shape \[3\]"),
        (Unshared, TYPES, r"shared names \['c'\]; the server keeps \['variate'\]"),
        (Mute, TYPES, "needs_start_loss is None"),
        (lambda: None, TYPES, "no function server_state"),
        (Jumpy, FIXED, "weights moved by 0.001"),
        (Decaying, FIXED, "weights moved"),
        (Normalised, FIXED, "weights moved by nan"),
        (Drawn, RESUME, "from its saved state"),
        (FirstCounts, RESUME, "from its saved state"),
        (FirstMessage, ORDER, "weights differ by"),
        (SumsUp, IDENTICAL, "in round 1 of 7 clients and of one"),
        (Hidden, PURE, "the same step again"),
        (Counting, PURE, "the same client again"),
        (InPlace, PURE, "in place what it was given: weights"),
        (VariateInPlace, PURE, "server's variate"),
        (ScalesDelta, PURE, "in place what it was given: the change"),
        (Overflows, FINITE, "with changes of 1e6"),
    ],
)
def test_a_broken_law_is_named(make: Callable[..., Any], law: str, says: str) -> None:
    with pytest.raises(BrokenLaw, match=says) as caught:
        check_strategy(make)
    assert caught.value.law == law
    assert isinstance(caught.value, AssertionError)
    assert getattr(make, "__name__", "") in str(caught.value)


class Median(FedAvg):
    """By entry; of the messages one by one."""

    collects = True

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        deltas = torch.stack([message.vectors["delta"].value.double() for message in means.messages])
        return moved(params, deltas.quantile(0.5, dim=0)), {}


def test_a_strategy_that_collects_is_given_every_message() -> None:
    check_strategy(Median)


def test_options_go_to_the_factory() -> None:
    check_strategy(fedprox, mu=0.3)
    with pytest.raises(TypeError, match="nu"):
        check_strategy(fedprox, nu=0.3)


def test_the_error_pickles() -> None:
    error = BrokenLaw("mine", FIXED, "weights moved by 1")
    there = pickle.loads(pickle.dumps(error))
    assert str(there) == str(error)
    assert (there.strategy, there.law, there.found) == ("mine", FIXED, "weights moved by 1")


def test_means_are_weighted_name_by_name() -> None:
    def message(value: float, weight: float) -> Message:
        return Message(
            {"delta": Weighted(torch.full((2,), value), weight), "other": Weighted(torch.full((2,), value))},
            {"loss": Weighted(value, 2 * weight)},
        )

    means = means_of([message(1.0, 3.0), message(5.0, 1.0)], population=9)
    assert means.vectors["delta"].tolist() == [2.0, 2.0]
    assert means.vectors["delta"].dtype == torch.float64
    assert means.vectors["other"].tolist() == [3.0, 3.0]
    assert means.numbers == {"loss": 2.0}
    assert (means.num_clients, means.population, means.messages) == (2, 9, ())


def test_a_mean_of_one_client_is_what_it_sent() -> None:
    update = ClientUpdate(0, 7, 1, 0.1, 0.0, torch.tensor([1 / 3, -1e-30]), 1.0, 1.0)
    sent = fedavg().message(replace(update, num_examples=7), server={}, client={})
    assert torch.equal(means_of([sent], population=1).vectors["delta"], update.delta.double())
