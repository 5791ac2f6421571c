"""Clients that train by DP-SGD on their own examples: each is protected from whoever sees an update.

Nothing is gained from which clients a round draws: what a client has spent goes by its own sampling rate and
by the rounds in which it took part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnray.privacy.accounting import Accountant, Phase, epsilon_of
from nnray.privacy.calibrate import noise_for
from nnray.privacy.example.batches import sampling_rate, steps_of_pass
from nnray.privacy.example.gradients import ExampleGradients
from nnray.privacy.example.step import add_noise
from nnray.seeding import torch_rng
from nnray.training.step import LossFn


@dataclass(frozen=True, slots=True)
class LocalSteps:
    """How often a client draws its examples, and how many steps it takes in a round.

    Args:
        batch_size: Examples that a step is expected to draw; None for all of a client's.
        epochs: Passes over its examples in a round.
        steps: Steps in a round, instead.
    """

    batch_size: int | None = None
    epochs: int = 1
    steps: int | None = None

    def rate(self, num_examples: int) -> float:
        """The chance that a step of a client with so many examples draws one of them."""
        return 1.0 if self.batch_size is None else sampling_rate(self.batch_size, num_examples)

    def in_round(self, num_examples: int) -> int:
        """Steps of such a client in a round."""
        return self.epochs * steps_of_pass(self.rate(num_examples)) if self.steps is None else self.steps

    def phase(self, num_examples: int, *, noise_multiplier: float, rounds: int) -> Phase:
        """What such a client does in so many rounds, for the accountant."""
        steps = rounds * self.in_round(num_examples)
        return Phase(noise_multiplier, self.rate(num_examples), steps)


class LocalPrivacy:
    """Draws and gradients of one client after another, with one model.

    Args:
        gradients: Of the model that clients train.
        steps: How a client's steps are drawn.
        clip_norm: Of those gradients.
        noise_multiplier: Standard deviation of the noise over ``clip_norm``.
        seed: Of privacy's draws.
    """

    def __init__(
        self,
        gradients: ExampleGradients,
        steps: LocalSteps,
        *,
        clip_norm: float,
        noise_multiplier: float,
        seed: int,
    ) -> None:
        self.steps = steps
        self._gradients, self._seed = gradients, seed
        self._std = noise_multiplier * clip_norm

    def draws(self, num_examples: int, *, path: tuple[str | int, ...]) -> Iterator[Tensor]:
        """The examples of each step of a round, ascending; there may be none.

        Args:
            num_examples: Of the client.
            path: Names the draws: the client, its round, its stage.
        """
        rate = self.steps.rate(num_examples)
        for step in range(self.steps.in_round(num_examples)):
            rng = torch_rng(self._seed, "privacy", "sample", *path, step)
            coins = torch.rand(num_examples, dtype=torch.float64, generator=rng)
            yield (coins < rate).nonzero().squeeze(1)

    def backward(
        self,
        loss_fn: LossFn,
        inputs: Tensor,
        *,
        targets: Tensor,
        num_examples: int,
        path: tuple[str | int, ...],
        step: int,
    ) -> Tensor:
        """Leave the noisy gradient of a batch at the parameters; the mean loss comes back, 0 of nobody.

        Args:
            loss_fn: Gives outputs and the mean loss of a batch.
            inputs: Of those drawn.
            targets: Likewise.
            num_examples: Of the client.
            path: Names the draws, as in ``draws``.
            step: From 0, in the round.
        """
        total, _, loss = self._gradients.clipped_sum(loss_fn, inputs, targets=targets)
        add_noise(total, std=self._std, seed=self._seed, step=step, path=path)
        expected = self.steps.rate(num_examples) * num_examples
        for param, gradient in zip(self._gradients.parameters, total, strict=True):
            param.grad = gradient.div_(expected)
        return loss


def local_noise(
    epsilon: float,
    steps: LocalSteps,
    *,
    sizes: NDArray[np.int64],
    rounds: int,
    delta: float,
    accountant: Accountant = "pld",
) -> float:
    """The least noise with which every client keeps to an epsilon, should it take part in every round.

    Args:
        epsilon: Not to be exceeded by any client.
        steps: How clients' steps are drawn.
        sizes: Examples of each client.
        rounds: Of the run.
        delta: Of the guarantee.
        accountant: How epsilon is computed.
    """
    each = {steps.phase(int(size), noise_multiplier=1.0, rounds=rounds) for size in np.unique(sizes)}
    worst, noise = min(each, key=lambda phase: (-phase.rate, -phase.steps)), 0.0
    while True:  # whose turn it is to be the worst may change with the noise, which only grows
        rate, total = worst.rate, worst.steps
        own = noise_for(epsilon, rate=rate, steps=total, delta=delta, accountant=accountant)
        noise = max(noise, own)
        worst, spent = _worst((replace(p, noise_multiplier=noise) for p in each), delta, accountant)
        if spent <= epsilon or (worst.rate, worst.steps) == (rate, total):
            return noise


def _worst(phases: Iterable[Phase], delta: float, accountant: Accountant) -> tuple[Phase, float]:
    """The phase that costs most, and what it costs.

    RDP is quick, and a bound as well: whoever's RDP is no more than the worst found needs no further look.
    """
    bounds = [(epsilon_of([phase], delta=delta, accountant="rdp"), phase) for phase in phases]
    bounds.sort(key=lambda pair: (-pair[0], pair[1].rate, pair[1].steps))
    worst, most = bounds[0][1], -1.0
    for bound, phase in bounds:
        if bound <= most:
            break
        spent = epsilon_of([phase], delta=delta, accountant=accountant)
        if spent > most:
            worst, most = phase, spent
    return worst, most


@dataclass(frozen=True, slots=True)
class Worst:
    """The client that has spent most.

    Args:
        client: Its number; the lowest of several.
        epsilon: That it has spent.
    """

    client: int
    epsilon: float


def worst_client(
    rounds: Mapping[int, int],
    steps: LocalSteps,
    *,
    sizes: NDArray[np.int64],
    noise_multiplier: float,
    delta: float,
    accountant: Accountant = "pld",
) -> Worst | None:
    """Who has spent most, and how much; None where nobody took part.

    Args:
        rounds: By client, in how many it trained, those among them whose update was lost.
        steps: How clients' steps are drawn.
        sizes: Examples of each client.
        noise_multiplier: Of all.
        delta: Of the guarantee.
        accountant: How epsilon is computed.
    """
    clients = dict[Phase, int]()
    for client in sorted(rounds):
        own = steps.phase(int(sizes[client]), noise_multiplier=noise_multiplier, rounds=rounds[client])
        clients.setdefault(own, client)
    if not clients:
        return None
    worst, spent = _worst(clients, delta, accountant)
    return Worst(clients[worst], spent)
