"""Clients of a round in blocks that train as one model, with all that a strategy adds to a client's training.

A block is summed as a whole where all that its clients send is their change: then no change of a single
client is ever worked out. A block in which a client fails is trained again without it, and one that can't be
trained at all, client by client: what comes of it depends on its clients alone, whoever computes it.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nnray.errors import DivergedError
from nnray.federated.client import ClientTrainer
from nnray.federated.exact import to_block_sums, to_sums
from nnray.federated.holdings import Population
from nnray.federated.local import LocalTraining
from nnray.federated.orders import order_key
from nnray.federated.outcome import (
    BUFFERS,
    ClientReport,
    Failed,
    Outcome,
    RoundStart,
    require_sound,
    size_of,
    with_buffers,
)
from nnray.federated.stacked import StackedTrainer
from nnray.federated.stacked_block import Block, cut_blocks, make_block, usual_block_size
from nnray.federated.stacked_updates import StackedUpdates
from nnray.federated.strategy import ClientUpdate, Message, Strategy, Vectors, traits

_NO_ORDER: NDArray[np.int64] = np.empty(0, dtype=np.int64)


class BlockTrainer:
    """Trains blocks of clients in this process.

    Args:
        trainer: Trains clients one by one; holds the model.
        stacked: Trains the model side by side.
        strategy: Says what a client sends.
        population: Who has which examples.
        local: How each client trains.
        set_lr: Sets the learning rate of the stacked clients' optimizers.
    """

    def __init__(
        self,
        trainer: ClientTrainer,
        stacked: StackedTrainer,
        *,
        strategy: Strategy,
        population: Population,
        local: LocalTraining,
        set_lr: Callable[[float | None], None],
    ) -> None:
        self._trainer, self._stacked, self._strategy = trainer, stacked, strategy
        self._population, self._local, self._set_lr = population, local, set_lr
        self._any_delta = torch.zeros_like(trainer.flat.params)
        self._sizes = functools.cache(local.sizes)

    def run(self, start: RoundStart, clients: Sequence[int], *, states: Mapping[int, Vectors]) -> Outcome:
        """Train one block, and add up what its clients send.

        Args:
            start: What the round begins with.
            clients: Of the block, ascending; their steps are alike.
            states: What clients keep.
        """
        left, failures = list(clients), list[Failed]()
        while left:
            outcome = self._attempt(start, left, states)
            if outcome is None:
                outcome = self._trainer.run(start, left, states=states)
            if not outcome.failures or outcome.reports:
                return outcome + Outcome(failures=tuple(failures))
            failures += outcome.failures
            lost = {failed.client for failed in outcome.failures}
            left = [client for client in left if client not in lost]
        return Outcome(failures=tuple(failures))

    def _attempt(
        self, start: RoundStart, clients: list[int], states: Mapping[int, Vectors]
    ) -> Outcome | None:
        """The block's outcome; failures alone where some have failed; None where it could not be trained."""
        began = time.perf_counter()
        try:
            updates = self._train(start, clients, states)
        except Exception:  # noqa: BLE001 (whatever it is, training them one by one names the client)
            return None
        seconds = (time.perf_counter() - began) / len(clients)
        bad = (~torch.isfinite(updates.losses)).any(1)
        if bool(bad.any()):
            return Outcome(failures=tuple(_diverged(start, clients, updates, bad)))
        reports = self._reports(clients, updates, seconds=seconds)
        try:
            return self._sent(start, reports, updates, states)
        except Exception:  # noqa: BLE001 (likewise)
            return None

    def _train(self, start: RoundStart, clients: list[int], states: Mapping[int, Vectors]) -> StackedUpdates:
        self._trainer.flat.load(start.weights)
        self._set_lr(start.lr)
        pulls = [self._strategy.pull(start.server, states.get(client, {})) for client in clients]
        return self._stacked.train(self._block(start.round, clients), pulls)

    def _block(self, number: int, clients: list[int]) -> Block:
        """The clients of a round with the examples that each will see, in its order."""
        own = [self._population.of(client) for client in clients]
        keys = np.array([order_key(self._local.seed, "client", number, client) for client in clients])
        counts = np.array([len(part) for part in own])
        orders: list[NDArray[np.int64]] = [_NO_ORDER] * len(clients)
        for count in np.unique(counts).tolist():
            places = np.flatnonzero(counts == count)
            seen = self._local.orders(keys[places], count)
            for place, order in zip(places.tolist(), seen, strict=True):
                orders[place] = own[place][order]
        return make_block(clients, orders, sizes=[self._sizes(len(part)) for part in own])

    def _reports(
        self, clients: list[int], updates: StackedUpdates, *, seconds: float
    ) -> tuple[ClientReport, ...]:
        steps = updates.losses.shape[1]
        losses = updates.losses.double().mean(1).tolist()
        return tuple(
            ClientReport(client, len(self._population.of(client)), steps, loss, seconds)
            for client, loss in zip(clients, losses, strict=True)
        )

    def _sent(
        self,
        start: RoundStart,
        reports: tuple[ClientReport, ...],
        updates: StackedUpdates,
        states: Mapping[int, Vectors],
    ) -> Outcome:
        plain = self._plain(start, reports, states)
        if plain:
            return self._as_one(start, reports, plain, updates)
        outcome = Outcome()
        for report, delta in zip(reports, updates.deltas(), strict=True):
            message = self._message(start, report, delta, states)
            outcome = outcome.absorb(self._one(start, report, message))
        return outcome

    def _plain(
        self, start: RoundStart, reports: tuple[ClientReport, ...], states: Mapping[int, Vectors]
    ) -> list[Message]:
        """What clients send beside their changes; nothing where one sends or keeps something else, too."""
        messages = list[Message]()
        for report in () if traits(self._strategy).collects else reports:
            message = self._message(start, report, self._any_delta, states)
            if not self._is_plain(message):
                return []
            messages.append(message)
        return messages

    def _as_one(
        self,
        start: RoundStart,
        reports: tuple[ClientReport, ...],
        messages: list[Message],
        updates: StackedUpdates,
    ) -> Outcome:
        """All that the block sends, summed before it is rounded."""
        for message in messages:
            require_sound(message, shape=self._any_delta.shape)
        weights = {name: [m.vectors[name].weight for m in messages] for name in messages[0].vectors}
        totals = {name: updates.weighted_sum(torch.tensor(of_each)) for name, of_each in weights.items()}
        buffers = start.weights.floats
        if len(buffers):
            totals[BUFFERS] = torch.zeros_like(buffers)  # training has not changed them
            weights[BUFFERS] = [float(report.num_examples) for report in reports]
        return Outcome(
            to_block_sums(messages, totals, weights=weights, bits=start.bits, room=start.room),
            start.weights.ints,
            reports,
            bytes_up=sum(map(size_of, messages))
            + len(messages) * (buffers.nbytes + start.weights.ints.nbytes),
        )

    def _one(self, start: RoundStart, report: ClientReport, message: Message) -> Outcome:
        require_sound(message, shape=self._any_delta.shape)
        collects, keeps = traits(self._strategy).collects, self._strategy.has_client_state
        whole = self._complete(start, message, report)
        return Outcome(
            to_sums(whole, start.bits, room=start.room),
            start.weights.ints,
            (report,),
            kept={report.client: message.kept} if keeps else {},
            bytes_up=size_of(whole) + start.weights.ints.nbytes,
            messages={report.client: whole} if collects else {},
        )

    def _complete(self, start: RoundStart, message: Message, report: ClientReport) -> Message:
        """With the float buffers, as every message has them; training has not changed them."""
        unchanged = torch.zeros_like(start.weights.floats)
        return with_buffers(message, unchanged, num_examples=report.num_examples)

    def _message(
        self, start: RoundStart, report: ClientReport, delta: Tensor, states: Mapping[int, Vectors]
    ) -> Message:
        update = ClientUpdate(
            report.client,
            report.num_examples,
            report.num_steps,
            self._trainer.lr if start.lr is None else start.lr,
            self._local.momentum,
            delta,
            report.loss,
            math.nan,
            start.round,
        )
        return self._strategy.message(update, server=start.server, client=states.get(report.client, {}))

    def _is_plain(self, message: Message) -> bool:
        """Whether all that is sent and kept is the change itself."""
        sent = all(sent.value is self._any_delta for sent in message.vectors.values())
        return sent and not message.kept


def _diverged(start: RoundStart, clients: list[int], updates: StackedUpdates, bad: Tensor) -> list[Failed]:
    found = []
    for place in bad.nonzero()[:, 0].tolist():
        step = int((~torch.isfinite(updates.losses[place])).nonzero()[0]) + 1
        found.append(Failed(clients[place], str(DivergedError(start.round, step, period="round"))))
    return found


def blocks_of(
    clients: Sequence[int],
    population: Population,
    *,
    local: LocalTraining,
    num_params: int,
    cohort: int,
    fills: bool,
) -> list[tuple[int, ...]]:
    """Cut clients into blocks that train side by side.

    Args:
        clients: Who trains.
        population: Who has which examples.
        local: How.
        num_params: Of the model.
        cohort: Clients of a round.
        fills: Whether batches may be filled up.
    """
    sizes_of = functools.cache(local.sizes)
    sizes = {client: sizes_of(len(population.of(client))) for client in clients}
    return cut_blocks(sizes, block_size=usual_block_size(cohort, num_params=num_params), fills=fills)
