"""Clients that train by DP-SGD on their own examples: each is protected from whoever sees an update.

Nothing is gained from which clients a round draws: what a client has spent goes by its own sampling rate and
by the rounds in which it took part.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nnray.privacy.accounting import Accountant, Phase, epsilon_of
from nnray.privacy.calibrate import noise_for
from nnray.privacy.example.batches import sampling_rate, steps_of_pass
from nnray.privacy.example.gradients import ExampleGradients
from nnray.privacy.example.step import add_noise
from nnray.seeding import torch_rng
from nnray.training.step import LossFn


def rate_of(batch_size: int | None, num_examples: int) -> float:
    """The chance that a step draws one of a client's examples.

    Args:
        batch_size: Examples that a step is expected to draw; None for all of a client's.
        num_examples: Of the client.
    """
    return 1.0 if batch_size is None else sampling_rate(batch_size, num_examples)


@dataclass(frozen=True, slots=True)
class LocalSteps:
    """How often clients draw their examples in a round.

    Args:
        batch_size: Examples that a step is expected to draw; None for all of a client's.
        in_round: Steps of a client, by its number of examples.
    """

    batch_size: int | None
    in_round: Mapping[int, int]

    def phase(self, num_examples: int, *, noise_multiplier: float, rounds: int) -> Phase:
        """What a client of so many examples does in so many rounds, for the accountant."""
        rate = rate_of(self.batch_size, num_examples)
        return Phase(noise_multiplier, rate, rounds * self.in_round[num_examples])


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalDpSgd:
    """How clients train so that each of their examples is protected.

    Args:
        batch_size: Examples that a step is expected to draw; None for all of a client's.
        clip_norm: Longest gradient of an example.
        noise_multiplier: Standard deviation of the noise over ``clip_norm``.
        at_once: Examples whose gradients are held at a time.
        seed: Of privacy's draws.
    """

    batch_size: int | None
    clip_norm: float
    noise_multiplier: float
    at_once: int
    seed: int

    def steps_of_pass(self, num_examples: int) -> int:
        """Steps in which a client of so many examples expects each of them once."""
        return steps_of_pass(rate_of(self.batch_size, num_examples))

    def on(self, module: nn.Module) -> LocalPrivacy:
        """The same for a model; hooks are put on its modules."""
        return LocalPrivacy(self, ExampleGradients(module, clip_norm=self.clip_norm, at_once=self.at_once))


class LocalPrivacy:
    """Draws and gradients of one client after another, with one model.

    Args:
        settings: How clients train.
        gradients: Of the model that they train.
    """

    def __init__(self, settings: LocalDpSgd, gradients: ExampleGradients) -> None:
        self._settings, self._gradients = settings, gradients

    def draws(self, num_examples: int, *, num_steps: int, path: tuple[str | int, ...]) -> Iterator[Tensor]:
        """The examples of each step, ascending; there may be none.

        Args:
            num_examples: Of the client.
            num_steps: Of its round, or of a stage of it.
            path: Names the draws: the client, its round, its stage.
        """
        rate = rate_of(self._settings.batch_size, num_examples)
        for step in range(num_steps):
            rng = torch_rng(self._settings.seed, "privacy", "sample", *path, step)
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
            step: From 0, in the round or its stage.
        """
        settings = self._settings
        total, _, loss = self._gradients.clipped_sum(loss_fn, inputs, targets=targets)
        std = settings.noise_multiplier * settings.clip_norm
        add_noise(total, std=std, seed=settings.seed, step=step, path=path)
        expected = rate_of(settings.batch_size, num_examples) * num_examples
        for param, gradient in zip(self._gradients.parameters, total, strict=True):
            if param.requires_grad:  # what is frozen must not be moved by noise
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


def rounds_within(
    epsilon: float,
    steps: LocalSteps,
    *,
    sizes: NDArray[np.int64],
    noise_multiplier: float,
    most: int,
    delta: float,
    accountant: Accountant = "pld",
) -> int:
    """The most rounds after which no client has exceeded an epsilon, should it take part in each; maybe 0.

    Args:
        epsilon: Not to be exceeded by any client.
        steps: How clients' steps are drawn.
        sizes: Examples of each client.
        noise_multiplier: Of all.
        most: Rounds beyond which nobody asks.
        delta: Of the guarantee.
        accountant: How epsilon is computed.
    """
    each = np.unique(sizes).tolist()

    def exceeds(rounds: int) -> bool:
        phases = (steps.phase(size, noise_multiplier=noise_multiplier, rounds=rounds) for size in each)
        return _worst(phases, delta, accountant)[1] > epsilon

    return bisect.bisect_left(range(1, most + 1), True, key=exceeds)


def _worst(phases: Iterable[Phase], delta: float, accountant: Accountant) -> tuple[Phase, float]:
    """The phase that costs most, and what it costs.

    RDP is quick, and a bound as well: whoever's RDP is no more than the worst found needs no further look.
    """
    bounds = [(epsilon_of([phase], delta=delta, accountant="rdp"), phase) for phase in _hardest(phases)]
    bounds.sort(key=lambda pair: (-pair[0], pair[1].rate, pair[1].steps))
    worst, most = bounds[0][1], -1.0
    for bound, phase in bounds:
        if bound <= most:
            break
        spent = epsilon_of([phase], delta=delta, accountant=accountant)
        if spent > most:
            worst, most = phase, spent
    return worst, most


def _hardest(phases: Iterable[Phase]) -> list[Phase]:
    """Those of equal noise of which none else has both a rate and steps as large: one of them costs most."""
    found = list[Phase]()
    for phase in sorted(set(phases), key=lambda phase: (-phase.rate, -phase.steps)):
        if not found or phase.steps > found[-1].steps:
            found.append(phase)
    return found


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
    if not rounds:
        return None
    who = np.array(sorted(rounds))
    pairs = np.stack([sizes[who], [rounds[client] for client in who.tolist()]], axis=1)
    alike, first = np.unique(pairs, axis=0, return_index=True)
    clients = dict[Phase, int]()
    for (size, count), place in zip(alike.tolist(), first.tolist(), strict=True):
        own = steps.phase(size, noise_multiplier=noise_multiplier, rounds=count)
        clients[own] = min(int(who[place]), clients.get(own, int(who[place])))
    worst, spent = _worst(clients, delta, accountant)
    return Worst(clients[worst], spent)
