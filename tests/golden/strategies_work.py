"""Logistic regression in NumPy and float64, shared out among clients; and strategies played on it.

Legend: N examples of a client, D inputs, w the D weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nnray.federated.strategy import ClientUpdate, Strategy, Vectors
from nnray.testing import means_of

Array = NDArray[np.float64]
D = 6
SKEWED = (3, 40, 7, 22, 1)
"""Examples of each client."""


@dataclass(frozen=True, slots=True)
class Client:
    """``x`` is [N, D], ``y`` is [N] of -1 and 1."""

    x: Array
    y: Array

    def __len__(self) -> int:
        return len(self.y)

    def loss(self, w: Array) -> float:
        return float(np.logaddexp(0, -self.y * (self.x @ w)).mean() + 0.05 * w @ w)

    def gradient(self, w: Array) -> Array:
        slope: Array = -self.y / (1 + np.exp(self.y * (self.x @ w)))
        return self.x.T @ slope / len(self) + 0.1 * w

    def batches(self, size: int | None) -> list[Client]:
        step = size or len(self)
        return [Client(self.x[i : i + step], self.y[i : i + step]) for i in range(0, len(self), step)]


def clients(sizes: Sequence[int] = SKEWED) -> list[Client]:
    """Clients that differ: in number of examples, in where these lie, and in what they say."""
    made = []
    for number, size in enumerate(sizes):
        rng = np.random.default_rng([7, number])
        x = rng.normal(size=(size, D)) + rng.normal(size=D)
        made.append(Client(x, np.where(x @ rng.normal(size=D) > 0, 1.0, -1.0)))
    return made


def pooled(parts: Sequence[Client]) -> Client:
    return Client(np.concatenate([p.x for p in parts]), np.concatenate([p.y for p in parts]))


@dataclass(frozen=True, slots=True)
class Training:
    """How a client trains: SGD over its batches, in order."""

    lr: float = 0.3
    batch: int | None = 5
    epochs: int = 2
    momentum: float = 0.0

    def run(
        self, w: Array, client: Client, *, extra: Callable[[Array], Array] = np.zeros_like
    ) -> tuple[Array, list[Array]]:
        """Weights at the end, and the client's own gradient in every step."""
        velocity, gradients = np.zeros_like(w), []
        for batch in client.batches(self.batch) * self.epochs:
            gradients.append(batch.gradient(w))
            velocity = self.momentum * velocity + gradients[-1] + extra(w)
            w = w - self.lr * velocity
        return w, gradients


PLAIN = Training()
EVERYONE = range(len(SKEWED))


def cohorts(rounds: int) -> list[list[int]]:
    """Three of five clients in each round, never the same three in a row."""
    return [sorted((i % 5, (i + 1) % 5, (i + 3) % 5)) for i in range(rounds)]


def start() -> Array:
    return np.random.default_rng(3).normal(size=D).astype(np.float32).astype(np.float64)


def play(
    strategy: Strategy,
    population: Sequence[Client],
    *,
    rounds: Sequence[Sequence[int]],
    training: Training = PLAIN,
) -> list[Array]:
    """The weights after each round, of a strategy of nnray."""
    params = torch.tensor(start(), dtype=torch.float32)
    server, kept = strategy.server_state(params), dict[int, Vectors]()
    seen = []
    for cohort in rounds:
        messages = []
        for i in cohort:
            update = _train(
                strategy, population, i, params, server=server, state=kept.get(i, {}), how=training
            )
            messages.append(strategy.message(update, server=server, client=kept.get(i, {})))
        kept |= {i: message.kept for i, message in zip(cohort, messages, strict=True)}
        params, server = strategy.step(params, means_of(messages, population=len(population)), server=server)
        seen.append(params.double().numpy())
    return seen


def _train(
    strategy: Strategy,
    population: Sequence[Client],
    number: int,
    params: torch.Tensor,
    *,
    server: Vectors,
    state: Vectors,
    how: Training,
) -> ClientUpdate:
    client, pull = population[number], strategy.pull(server, state)
    begin = (params if pull.start is None else pull.start).double().numpy()
    drift = np.zeros(D) if pull.drift is None else pull.drift.double().numpy()
    end, gradients = how.run(begin, client, extra=lambda w: pull.proximal * (w - begin) + drift)
    delta = torch.tensor(end - begin, dtype=torch.float32)
    start_loss = client.loss(params.double().numpy()) if strategy.needs_start_loss else float("nan")
    return ClientUpdate(
        number, len(client), len(gradients), how.lr, how.momentum, delta, client.loss(end), start_loss
    )
