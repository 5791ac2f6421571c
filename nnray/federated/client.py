"""Training on clients' examples, one client after another, with one model that is reset in place.

What a client's training comes to depends on the weights it starts from, its examples, and draws named by
``(seed, "client", round, client)``: not on who computes it, nor on what that process did before.
"""

from __future__ import annotations

import copy
import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nnray.data.batches import Augmentation, applied, as_float
from nnray.data.splits import Examples
from nnray.errors import DivergedError, NnrayError
from nnray.federated.exact import to_sums
from nnray.federated.outcome import (
    FLOATS,
    INTS,
    ClientReport,
    Failed,
    Outcome,
    RoundStart,
    require_sound,
    size_of,
    with_buffers,
)
from nnray.federated.strategy import ClientUpdate, Message, Pull, Strategy, Vectors, traits
from nnray.federated.weights import FlatModel, Weights
from nnray.seeding import derive, torch_rng, torch_seeded
from nnray.training.regularization import add_l1
from nnray.training.state import Optimizer
from nnray.training.step import LossFn


class Population(Protocol):
    """Who has which examples."""

    def __len__(self) -> int:
        """Number of clients."""

    def of(self, client: int) -> NDArray[np.int64]:
        """The examples of a client."""


Alter = Callable[[Tensor, Tensor, int, NDArray[np.int64]], tuple[Tensor, Tensor]]
"""From a client's inputs and targets, its number, and the numbers of its examples, to what it trains on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalTraining:
    """How a client trains, the same for all.

    Args:
        loss_fn: Gives outputs and the mean loss of a batch.
        make_optimizer: Of the model's parameters; it is reset for each client.
        batch_size: Examples a step; None for all of a client's.
        epochs: Passes over its examples.
        steps: Steps, instead of epochs: as many passes as that takes.
        momentum: Of the optimizer, for strategies that correct for it.
        augment: Changes made to batches.
        l1: Strength of the L1 penalty.
        max_grad_norm: Longest gradient.
        by_pixel: Whether images are laid out by pixel, not by channel.
        seed: Of the experiment.
    """

    loss_fn: LossFn
    make_optimizer: Callable[[list[nn.Parameter]], Optimizer]
    batch_size: int | None = None
    epochs: int = 1
    steps: int | None = None
    momentum: float = 0.0
    augment: tuple[Augmentation, ...] = ()
    l1: float = 0.0
    max_grad_norm: float | None = None
    by_pixel: bool = False
    seed: int = 0

    def num_steps(self, num_examples: int) -> int:
        """Steps that a client of so many examples takes."""
        if self.steps is not None:
            return self.steps
        return self.epochs * (1 if self.batch_size is None else -(-num_examples // self.batch_size))

    def sizes(self, num_examples: int) -> tuple[int, ...]:
        """Examples in the batch of each step."""
        size, left = self.batch_size or num_examples, self.num_steps(num_examples)
        once = [min(size, num_examples - begin) for begin in range(0, num_examples, size)]
        return tuple((once * -(-left // len(once)))[:left])

    def passes(self, num_examples: int, *, path: tuple[str | int, ...]) -> Iterator[tuple[Tensor, list[int]]]:
        """The order of the examples in each pass, and the sizes of its batches; the last may be cut short.

        Args:
            num_examples: Of a client.
            path: Names the draws.
        """
        rng = torch_rng(self.seed, *path, "order")
        left, size = self.num_steps(num_examples), self.batch_size or num_examples
        while left:
            sizes = [min(size, num_examples - begin) for begin in range(0, num_examples, size)][:left]
            yield torch.randperm(num_examples, generator=rng)[: sum(sizes)], sizes
            left -= len(sizes)


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client sends, and what is told of it.

    Args:
        message: Its buffers among the vectors.
        ints: Its integer buffers.
        report: How it trained.
    """

    message: Message
    ints: Tensor
    report: ClientReport


class ClientTrainer:
    """Trains clients in this process.

    Args:
        model: Taken over; its weights are those of whoever trained last.
        strategy: Says what a client adds to its gradient, sends and keeps.
        examples: Of all clients, resident.
        population: Who has which of them.
        local: How each one trains.
        alter: Changes a client's inputs and targets, given its number and those of its examples.
        on_client: Told of each client before it begins.
    """

    def __init__(
        self,
        model: nn.Module,
        strategy: Strategy,
        *,
        examples: Examples,
        population: Population,
        local: LocalTraining,
        alter: Alter | None = None,
        on_client: Callable[[int], None] = lambda client: None,
    ) -> None:
        self.flat = FlatModel(model)
        self._strategy, self._examples, self._population = strategy, examples, population
        self._local, self._alter, self._on_client = local, alter, on_client
        self._traits = traits(strategy)
        self._optimizer = local.make_optimizer(self.flat.parameters)
        self._fresh = copy.deepcopy(self._optimizer.state_dict())

    @property
    def lr(self) -> float:
        """Of the clients' optimizer, where a round doesn't say another."""
        return float(self._fresh["param_groups"][0]["lr"])

    def run(self, start: RoundStart, clients: Sequence[int], *, states: Mapping[int, Vectors]) -> Outcome:
        """Train clients, and add up what they send.

        Args:
            start: What the round begins with.
            clients: Who trains.
            states: What clients keep; one without an entry takes part for the first time.
        """
        outcome = Outcome()
        for client in clients:
            self._on_client(client)
            outcome = outcome.absorb(self._attempt(start, client, states.get(client, {})))
        return outcome

    def _attempt(self, start: RoundStart, client: int, state: Vectors) -> Outcome:
        try:
            return self._client(start, client, state)
        except Exception as error:  # noqa: BLE001 (a client's fault is its own: named, and dealt with by the run)
            return Outcome(failures=(Failed(client, _described(error), traceback.format_exc()),))

    def _client(self, start: RoundStart, client: int, state: Vectors) -> Outcome:
        sent = self.send(start, client, state=state)
        return Outcome(
            to_sums(sent.message, start.bits, room=start.room),
            None if self._traits.is_personal else sent.ints,
            (sent.report,),
            kept={client: sent.message.kept} if self._strategy.has_client_state else {},
            bytes_up=size_of(sent.message) + sent.ints.nbytes,
            messages={client: sent.message} if self._traits.collects else {},
        )

    def send(self, start: RoundStart, client: int, *, state: Vectors) -> Sent:
        """Train one client; what it sends comes back, checked.

        Raises:
            DivergedError: Its loss is not finite.
            DataError: What it would send can't be averaged.
        """
        began = time.perf_counter()
        update = self.train(start, client, state=state)
        message = self._strategy.message(update, server=start.server, client=state)
        floats, ints = self.flat.buffers()
        if self._traits.is_personal:
            message = replace(message, kept={**message.kept, FLOATS: floats, INTS: ints})
        else:
            message = with_buffers(message, floats - start.weights.floats, num_examples=update.num_examples)
        require_sound(message, shape=self.flat.params.shape)
        seconds = time.perf_counter() - began
        report = ClientReport(client, update.num_examples, update.num_steps, update.loss, seconds)
        return Sent(message, ints, report)

    def train(self, start: RoundStart, client: int, *, state: Vectors) -> ClientUpdate:
        """Train one client; the model then has its weights.

        Raises:
            DivergedError: Its loss is not finite.
        """
        local, path = self._local, ("client", start.round, client)
        inputs, targets = self._gather(client)
        pull = self._strategy.pull(start.server, state)
        begin = begin_of(start.weights, state)
        if pull.start is not None:
            begin = begin.with_params(pull.start)
        start_loss = math.nan
        if self._strategy.needs_start_loss:
            self.flat.load(start.weights)
            start_loss = self._mean_loss(inputs, targets)
        self.flat.load(begin)
        optimizer = self._reset(start.lr)
        lr = float(optimizer.param_groups[0]["lr"])
        terms = _Terms(self.flat, pull, begin.params)
        self.flat.module.train()
        losses: list[Tensor] = []
        with torch_seeded(local.seed, *path, "dropout"):
            for x, y in self._batches(inputs, targets, path=path):
                losses.append(self._step(optimizer, x, y, terms=terms))
        loss = torch.stack(losses).mean()
        if not bool(torch.isfinite(loss)):
            raise DivergedError(start.round, _first_bad(losses), period="round")
        delta = self.flat.params - begin.params
        return ClientUpdate(
            client, len(targets), len(losses), lr, local.momentum, delta, float(loss), start_loss, start.round
        )

    def _gather(self, client: int) -> tuple[Tensor, Tensor]:
        own = self._population.of(client)
        examples, device = self._examples, self.flat.params.device
        index = torch.from_numpy(own).to(examples.targets.device)
        inputs, targets = (
            as_float(examples.inputs.index_select(0, index)),
            examples.targets.index_select(0, index),
        )
        if self._alter is not None:
            inputs, targets = self._alter(inputs, targets, client, own)
        return inputs.to(device), targets.to(device)

    def _reset(self, lr: float | None) -> Optimizer:
        """The optimizer as it was before the first step."""
        optimizer = self._optimizer
        optimizer.load_state_dict(self._fresh)
        if lr is not None:
            for group in optimizer.param_groups:
                group["lr"] = lr
        return optimizer

    def _batches(
        self, inputs: Tensor, targets: Tensor, *, path: tuple[str | int, ...]
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """As many batches as there are steps, in a new order for each pass."""
        local, step = self._local, 0
        for order, sizes in local.passes(len(targets), path=path):
            x = inputs.index_select(0, order.to(inputs.device))
            if local.by_pixel and x.ndim == 4:
                x = x.contiguous(memory_format=torch.channels_last)
            y = targets.index_select(0, order.to(targets.device))
            for batch in zip(torch.split(x, sizes), torch.split(y, sizes), strict=True):
                step += 1
                yield self._augmented(*batch, path=(*path, "augment", step)) if local.augment else batch

    def _augmented(self, x: Tensor, y: Tensor, *, path: tuple[str | int, ...]) -> tuple[Tensor, Tensor]:
        rng = torch.Generator().manual_seed(derive(self._local.seed, *path))
        for apply in self._local.augment:
            x, y = applied(apply, x, targets=y, rng=rng)
        return x, y

    def _step(self, optimizer: Optimizer, x: Tensor, y: Tensor, *, terms: _Terms) -> Tensor:
        _, loss = self._local.loss_fn(self.flat.module, x, y)
        loss.backward()  # type: ignore[no-untyped-call]
        if self._local.l1:
            add_l1(self.flat.module, self._local.l1)
        if self._local.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.flat.parameters, self._local.max_grad_norm)
        terms.add()
        optimizer.step()
        for param in self.flat.parameters:
            param.grad = None
        return loss.detach()

    def _mean_loss(self, inputs: Tensor, targets: Tensor) -> float:
        """Of the model as it stands, over examples, as in training but for dropout and batch norm."""
        self.flat.module.eval()
        with torch.no_grad():
            parts = zip(torch.split(inputs, _AT_ONCE), torch.split(targets, _AT_ONCE), strict=True)
            total = sum(float(self._local.loss_fn(self.flat.module, x, y)[1]) * len(y) for x, y in parts)
        return total / len(targets)


def begin_of(weights: Weights, state: Vectors) -> Weights:
    """The server's weights, with the buffers that a client keeps, if it does."""
    if FLOATS not in state:
        return weights
    return Weights(weights.params, state[FLOATS], state[INTS])


def _described(error: Exception) -> str:
    """In a line, with what to do where torch alone knows what is wrong."""
    kind = "" if isinstance(error, NnrayError) else f"{type(error).__name__}: "
    advice = "; batch norm needs two examples in every batch: take another batch size, or group norm"
    return f"{kind}{error}" + (advice if _ONE_EXAMPLE in str(error) else "")


_ONE_EXAMPLE = "Expected more than 1 value per channel"
"""What torch says of a batch of one under batch norm."""
_AT_ONCE = 1000
"""Examples measured at a time."""


class _Terms:
    """What a strategy adds to every gradient."""

    def __init__(self, flat: FlatModel, pull: Pull, start: Tensor) -> None:
        self._params, self._proximal = flat.parameters, pull.proximal
        self._start = [slot.of(start) for slot in flat.slots] if pull.proximal else []
        self._drift = [slot.of(pull.drift) for slot in flat.slots] if pull.drift is not None else []

    @torch.no_grad()
    def add(self) -> None:
        for place, param in enumerate(self._params if self._start or self._drift else ()):
            if param.grad is None:
                continue
            if self._start:
                param.grad.add_(param - self._start[place], alpha=self._proximal)
            if self._drift:
                param.grad.add_(self._drift[place])


def _first_bad(losses: Sequence[Tensor]) -> int:
    return next(step for step, loss in enumerate(losses, start=1) if not bool(torch.isfinite(loss)))
