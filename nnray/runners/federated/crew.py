"""Who trains the clients of a run: this process, or actors. All give the same bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from nnray.federated.outcome import Failed, Outcome, RoundStart
from nnray.federated.strategy import Vectors
from nnray.federated.weights import Weights
from nnray.metrics import MetricSums, merge
from nnray.runners.federated.parties import Masking
from nnray.runners.federated.setting import Setting
from nnray.runners.federated.stacking import Cutter
from nnray.runners.federated.worker import Worker

States = Mapping[int, Vectors]
"""What clients keep, by number."""
Parts = list[tuple[int, MetricSums]]
"""Sums of parts of a whole, by number."""
Arguments = Callable[[Sequence[int]], tuple[Any, ...]]
"""From clients to what a call for them is given."""


class Crew(Protocol):
    """Trains and evaluates."""

    def train(self, start: RoundStart, clients: Sequence[int], states: States) -> Outcome:
        """Train each client once, and add up what they send."""

    def evaluate(self, weights: Weights, split: str) -> MetricSums:
        """Measure weights on a split."""

    def evaluate_clients(self, weights: Weights, states: States) -> Parts:
        """Measure weights on what each client holds out, by client."""

    def evaluate_personal(self, weights: Weights, split: str, states: States) -> MetricSums:
        """Measure the weights of each client on a split, all together."""


class Alone:
    """This process.

    Args:
        setting: Of the run.
    """

    def __init__(self, setting: Setting) -> None:
        self._worker, self._setting, self._cut = Worker(setting), setting, Cutter(setting)

    def train(
        self, start: RoundStart, clients: Sequence[int], states: States, *, masking: Masking | None = None
    ) -> Outcome:
        """One block after the other."""
        if masking is not None:
            return self._worker.secure_train(start, masking.of(clients), states)
        return self._worker.train(start, self._cut(clients), states)

    def ask(self, method: str, clients: Sequence[int], make: Arguments) -> list[tuple[int, Any] | Failed]:
        """All at once."""
        found: list[tuple[int, Any] | Failed] = getattr(self._worker, method)(*make(clients))
        return found

    def evaluate(self, weights: Weights, split: str) -> MetricSums:
        """All blocks, in order."""
        blocks = range(num_blocks(self._setting, split))
        return in_order(self._worker.evaluate(weights, split, blocks))

    def evaluate_clients(self, weights: Weights, states: States) -> Parts:
        """One client after the other."""
        return self._worker.evaluate_clients(weights, clients_with_held(self._setting), states)

    def evaluate_personal(self, weights: Weights, split: str, states: States) -> MetricSums:
        """One client after the other."""
        return in_order(self._worker.evaluate_personal(weights, split, states))


def num_blocks(setting: Setting, split: str) -> int:
    """Blocks that a split is measured in, the same for any number of workers."""
    return -(-len(setting.splits[split]) // setting.experiment.training.eval_batch_size)


def in_order(parts: Parts) -> MetricSums:
    """Parts added up in the order of their numbers: the last bits of a sum depend on it."""
    return merge(sums for _, sums in sorted(parts, key=lambda part: part[0]))


def clients_with_held(setting: Setting) -> list[int]:
    """Clients that hold something out."""
    assert setting.held is not None
    return [int(client) for client in setting.held.sizes.nonzero()[0]]
