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
from typing import cast

import torch
from torch import Tensor, nn

from nnray.data.splits import Examples
from nnray.errors import DivergedError, NnrayError
from nnray.federated.exact import to_sums
from nnray.federated.holdings import Alter, Holdings, Population
from nnray.federated.local import LocalTraining
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
from nnray.federated.pulled import Terms, frozen
from nnray.federated.strategy import ClientUpdate, Message, Pull, Stage, Staged, Strategy, Vectors, traits
from nnray.federated.weights import FlatModel, Weights
from nnray.seeding import torch_seeded
from nnray.tasks.turns import require_parts
from nnray.training.regularization import add_l1
from nnray.training.state import Optimizer


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


@dataclass(frozen=True, slots=True)
class _Trained:
    """A client's update, the buffers that it sends, and those that it keeps."""

    update: ClientUpdate
    sent: tuple[Tensor, Tensor]
    kept: Vectors


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
        require_parts(local.turns, model)
        self.flat = FlatModel(model)
        self._strategy, self._local, self._on_client = strategy, local, on_client
        self._traits = traits(strategy)
        self._keeps_buffers = self._traits.is_personal or self._traits.own_buffers
        self._private = None if local.private is None else local.private.on(self.flat.module)
        self._holdings = Holdings(examples, population, alter=alter, private=self._private)
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
            None if self._keeps_buffers else sent.ints,
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
        trained = self._train(start, client, state)
        update, (floats, ints) = trained.update, trained.sent
        message = self._strategy.message(update, server=start.server, client=state)
        if trained.kept:
            message = replace(message, kept={**message.kept, **trained.kept})
        if not self._keeps_buffers:
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
        return self._train(start, client, state).update

    def _train(self, start: RoundStart, client: int, state: Vectors) -> _Trained:
        inputs, targets = self._holdings.of(client, device=self.flat.params.device)
        start_loss = math.nan
        if self._strategy.needs_start_loss:
            self.flat.load(start.weights)
            start_loss = self._mean_loss(inputs, targets)
        self.flat.load(begin_of(start.weights, state) if self._keeps_buffers else start.weights)
        losses, sent = list[Tensor | None](), None
        pull, begin = Pull(), start.weights.params
        for number, pull, begin in self._stages(start, state, self._local.num_steps(len(targets))):
            if pull.apart and sent is None:
                sent = self.flat.buffers()
                self.flat.load(begin_of(start.weights, state))
            self.flat.params.copy_(begin)
            path = ("client", start.round, client, *(("stage", number) if number else ()))
            losses += self._take_steps(inputs, targets, pull=pull, begin=begin, path=path, lr=start.lr)
        found = [loss for loss in losses if loss is not None]
        loss = float(torch.stack(found).mean()) if found else self._mean_loss(inputs, targets)
        if not math.isfinite(loss):
            raise DivergedError(start.round, _first_bad(losses), period="round")
        update = ClientUpdate(
            client,
            len(targets),
            len(losses),
            self.lr if start.lr is None else start.lr,
            self._local.momentum,
            self.flat.params - begin,
            loss,
            start_loss,
            start.round,
            self.flat.params.clone() if self._traits.is_staged else None,
            pull.carried,
        )
        return self._trained(update, sent)

    def _stages(
        self, start: RoundStart, state: Vectors, num_steps: int
    ) -> Iterator[tuple[int, Pull, Tensor]]:
        """Number, pull and first weights of each stage, asked for when the one before it has ended."""
        params = start.weights.params
        if not self._traits.is_staged:
            pull = self._strategy.pull(start.server, state)
            yield 0, pull, params if pull.start is None else pull.start
            return
        staged, stage = cast(Staged, self._strategy), Stage(0, params, params, num_steps)
        while (found := staged.next_pull(stage, server=start.server, client=state)) is not None:
            yield stage.number, found, stage.params if found.start is None else found.start
            stage = Stage(stage.number + 1, params, self.flat.params.clone(), num_steps, found.carried)

    def _take_steps(
        self,
        inputs: Tensor,
        targets: Tensor,
        *,
        pull: Pull,
        begin: Tensor,
        path: tuple[str | int, ...],
        lr: float | None,
    ) -> list[Tensor | None]:
        """The steps of a stage, and their losses, None of nobody; the model then has its weights."""
        assert self._private is None or pull.repeat == 1, "refused before the run: it isn't accounted for"
        optimizer, terms, losses = self._reset(lr), Terms(self.flat, pull, begin), list[Tensor | None]()
        local = self._local.lasting(pull)
        self.flat.module.train()
        with torch_seeded(local.seed, *path, "dropout"), frozen(self.flat, pull.frozen):
            for step, (x, y) in enumerate(self._holdings.batches(inputs, targets, local=local, path=path)):
                for _ in range(pull.repeat):
                    if local.turns:
                        losses.append(self._learn_in_turn(x, y, optimizer, terms=terms, step=step))
                        continue
                    loss = self._backward(x, y, num_examples=len(targets), path=path, step=step)
                    self._step(optimizer, terms)
                    losses.append(loss if len(y) else None)
        return losses

    def _trained(self, update: ClientUpdate, sent: tuple[Tensor, Tensor] | None) -> _Trained:
        """With the buffers as they are now: the client's own, or those that it sends if it has sent none."""
        floats, ints = self.flat.buffers()
        if self._keeps_buffers:
            return _Trained(update, (floats[:0], ints[:0]), {FLOATS: floats, INTS: ints})
        if sent is not None:
            return _Trained(update, sent, {FLOATS: floats, INTS: ints})
        return _Trained(update, (floats, ints), {})

    def _reset(self, lr: float | None) -> Optimizer:
        """The optimizer as it was before the first step."""
        optimizer = self._optimizer
        optimizer.load_state_dict(self._fresh)
        if lr is not None:
            for group in optimizer.param_groups:
                group["lr"] = lr
        return optimizer

    def _backward(
        self, x: Tensor, y: Tensor, *, num_examples: int, path: tuple[str | int, ...], step: int
    ) -> Tensor:
        """Leave a batch's gradient at the parameters; its mean loss comes back."""
        loss_fn = self._local.loss_fn
        if self._private is not None:
            return self._private.backward(
                loss_fn, x, targets=y, num_examples=num_examples, path=path, step=step
            )
        _, loss = loss_fn(self.flat.module, x, y)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _learn_in_turn(
        self, x: Tensor, y: Tensor, optimizer: Optimizer, *, terms: Terms, step: int
    ) -> Tensor:
        """A step of each part of the model that is due; the sum of their losses comes back."""
        model, losses = self.flat.module, list[Tensor]()
        for turn in (turn for turn in self._local.turns if turn.is_due(step)):
            with turn.announced(model):
                _, loss = turn.loss_of(model, x, y)
                loss.backward()  # type: ignore[no-untyped-call]
            turn.keep_own(model)
            self._step(optimizer, terms)
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _step(self, optimizer: Optimizer, terms: Terms) -> None:
        """Go by the gradient that is there, and clear it."""
        if self._local.l1:
            add_l1(self.flat.module, self._local.l1)
        if self._local.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.flat.parameters, self._local.max_grad_norm)
        terms.add()
        optimizer.step()
        for param in self.flat.parameters:
            param.grad = None

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


def _first_bad(losses: Sequence[Tensor | None]) -> int | None:
    bad = (step for step, loss in enumerate(losses, 1) if loss is not None and not bool(loss.isfinite()))
    return next(bad, None)
