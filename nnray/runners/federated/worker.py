"""What trains and evaluates, in this process or in an actor's: one model, reset for each client."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from nnray.assembly import build_task
from nnray.data.batches import as_float, laid_out
from nnray.data.splits import Examples
from nnray.evaluation.evaluate import evaluate
from nnray.federated.client import begin_of
from nnray.federated.outcome import Outcome, RoundStart
from nnray.federated.strategy import Vectors, personal_params
from nnray.federated.weights import Weights
from nnray.metrics import MetricSums
from nnray.privacy.secure.messages import PublicKeys, Request, Revealed, SealedShares
from nnray.runners.federated.parties import Masking, Parties, keys_of, shares_of
from nnray.runners.federated.setting import Setting, make_trainer, strategy_of
from nnray.runners.federated.stacking import make_block_trainer
from nnray.runners.federated.thinning import Thinning
from nnray.training.memory import keep_memory

NOBODY = -1


@dataclass(frozen=True, slots=True)
class Busy:
    """Whom a worker is at.

    Args:
        client: Its number; -1 for nobody.
        seconds: For how long.
    """

    client: int
    seconds: float


class Worker:
    """Trains clients, and evaluates weights.

    Args:
        setting: Of the run.
    """

    def __init__(self, setting: Setting) -> None:
        keep_memory()
        torch.set_num_threads(1)  # the bits must not depend on it; processes fill the cores
        self._setting, self._strategy = setting, strategy_of(setting)
        self.trainer = make_trainer(setting, self._strategy, on_client=self._begin)
        self._blocks = (
            make_block_trainer(setting, self._strategy, trainer=self.trainer) if setting.stacked else None
        )
        self._task = build_task(setting.experiment, setting.info)
        self._parties = Parties(Thinning(self._strategy, size=len(self.trainer.flat.params)))
        self._at, self._since = NOBODY, time.monotonic()

    def train(
        self,
        start: RoundStart,
        blocks: Sequence[Sequence[int]],
        states: Mapping[int, Vectors],
    ) -> Outcome:
        """Train clients, and add up what they send; those of a block side by side."""
        try:
            if self._blocks is None:
                return self.trainer.run(
                    start, [client for block in blocks for client in block], states=states
                )
            outcome = Outcome()
            for block in blocks:
                outcome = outcome.absorb(self._blocks.run(start, block, states=states))
            return outcome
        finally:
            self._begin(NOBODY)

    def secure_train(self, start: RoundStart, masking: Masking, states: Mapping[int, Vectors]) -> Outcome:
        """Train clients, and add up what they send under masks."""
        assert self._blocks is None, "composition refuses secure sums with clients side by side"
        outcome = Outcome()
        try:
            for client in masking.told:
                plain = self.trainer.run(start, [client], states=states)
                outcome = outcome.absorb(self._parties.mask(plain, masking))
            return outcome
        finally:
            self._begin(NOBODY)

    def secure_keys(self, masking: Masking) -> list[tuple[int, tuple[PublicKeys, ...]]]:
        """What clients send first for a secure sum."""
        return keys_of(masking)

    def secure_shares(self, masking: Masking) -> list[tuple[int, tuple[SealedShares, ...]]]:
        """What they send then."""
        return shares_of(masking)

    def secure_reveal(
        self, masking: Masking, requests: Mapping[int, Request]
    ) -> list[tuple[int, tuple[Revealed, ...]]]:
        """What they send at last."""
        return self._parties.reveal(masking, requests)

    def busy(self) -> Busy:
        """Whom it is at; asked from another thread."""
        return Busy(self._at, time.monotonic() - self._since)

    def evaluate(self, weights: Weights, split: str, blocks: Sequence[int]) -> list[tuple[int, MetricSums]]:
        """Measure weights on blocks of a split; sums come one by one, to be added up in order."""
        flat, examples = self.trainer.flat, self._setting.splits[split]
        flat.load(weights)
        size = self.block_size
        return [
            (block, self._measure(_slice(examples, block * size, (block + 1) * size))) for block in blocks
        ]

    def evaluate_clients(
        self, weights: Weights, clients: Sequence[int], states: Mapping[int, Vectors]
    ) -> list[tuple[int, MetricSums]]:
        """Measure weights on what each client holds out; personal ones where it has some."""
        held = self._setting.held
        assert held is not None
        found = []
        for client in clients:
            self._load(weights, states.get(client, {}))
            index = torch.from_numpy(held.of(client))
            found.append((client, self._measure(self._setting.train.take(index))))
        return found

    def evaluate_personal(
        self, weights: Weights, split: str, states: Mapping[int, Vectors]
    ) -> list[tuple[int, MetricSums]]:
        """Measure each client's own weights on a whole split."""
        found = []
        for client, state in states.items():
            self._load(weights, state)
            found.append((client, self._measure(self._setting.splits[split])))
        return found

    @property
    def block_size(self) -> int:
        """Examples measured at a time."""
        return self._setting.experiment.training.eval_batch_size

    def _load(self, weights: Weights, state: Vectors) -> None:
        own = personal_params(self._strategy, weights.params, client=state)
        self.trainer.flat.load(begin_of(weights, state).with_params(own))

    def _measure(self, examples: Examples) -> MetricSums:
        precision = self._setting.experiment.training.precision
        return evaluate(self.trainer.flat.module, self._batches(examples), self._task, precision=precision)

    def _batches(self, examples: Examples) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        device, size = self.trainer.flat.params.device, self.block_size
        by_pixel = self._setting.experiment.training.channels_last
        for start in range(0, len(examples), size):
            part = _slice(examples, start, start + size)
            inputs = as_float(part.inputs).to(device)
            yield laid_out(inputs, by_pixel=by_pixel), part.targets.to(device)

    def _begin(self, client: int) -> None:
        self._at, self._since = client, time.monotonic()


def _slice(examples: Examples, start: int, end: int) -> Examples:
    # Copied: a model that works in place must not change the examples.
    return Examples(examples.inputs[start:end].clone(), examples.targets[start:end].clone())
