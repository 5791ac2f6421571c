"""Batches that each example enters by a coin of its own: the sampling that the accountant reckons with.

A shuffled pass would visit each example exactly once, and its epsilon is another, larger one. Here a step
draws every example with the same chance, on its own: batches differ in size, and may be empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from nnray.data.batches import Augmentation, applied, as_float
from nnray.data.splits import Examples
from nnray.seeding import derive, torch_rng


def sampling_rate(batch_size: int, num_examples: int) -> float:
    """The chance that a step draws an example, so that ``batch_size`` are expected; 1 at most."""
    return min(1.0, batch_size / num_examples)


def steps_of_pass(rate: float) -> int:
    """Steps in which each example is expected about once."""
    return max(1, round(1 / rate))


class PoissonBatches:
    """Batches of Poisson sampling; the same for each call with the same arguments.

    Args:
        examples: What to draw from; moved to the device.
        batch_size: Examples expected in a batch; all of them, if that is more than there are.
        seed: Of the draws and the augmentation.
        augment: Applied to each batch, one after the other; each must change every example by itself.
        device: Where batches are handed out.
        channels_last: Lay images out by pixel, not by channel.

    Source:
        Abadi et al. 2016, algorithm 1 ("lots"); Mironov et al. 2019, section 2 (Poisson sampling).
    """

    def __init__(
        self,
        examples: Examples,
        *,
        batch_size: int,
        seed: int = 0,
        augment: Sequence[Augmentation] = (),
        device: str | torch.device = "cpu",
        channels_last: bool = False,
    ) -> None:
        assert batch_size > 0, batch_size
        self.device, self.seed, self.augment = torch.device(device), seed, tuple(augment)
        self._inputs, self._targets = examples.inputs.to(self.device), examples.targets.to(self.device)
        self.rate = sampling_rate(batch_size, len(examples))
        by_pixel = channels_last and examples.inputs.ndim == 4
        self._layout = torch.channels_last if by_pixel else torch.contiguous_format

    @property
    def num_examples(self) -> int:
        """Examples that are drawn from."""
        return len(self._targets)

    @property
    def num_batches(self) -> int:
        """Steps of an epoch."""
        return steps_of_pass(self.rate)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Draw the batches of an epoch; depends only on the seed and the number.

        Args:
            number: Of the epoch.
        """
        for index in range(self.num_batches):
            yield self._batch(number, index)

    def drawn(self, number: int, index: int) -> Tensor:
        """The examples of a batch, ascending.

        Args:
            number: Of the epoch.
            index: Of the batch in it, from 0.
        """
        rng = torch_rng(self.seed, "privacy", "sample", number, index)
        # In float64, whose draws are fine enough for the rate of any data set.
        coins = torch.rand(self.num_examples, dtype=torch.float64, generator=rng)
        return (coins < self.rate).nonzero().squeeze(1)

    def _batch(self, number: int, index: int) -> tuple[Tensor, Tensor]:
        chosen = self.drawn(number, index).to(self.device)
        inputs, targets = as_float(self._inputs[chosen]), self._targets[chosen]
        if self.augment and len(targets):
            rng = torch.Generator().manual_seed(derive(self.seed, "augment", number, index))
            for apply in self.augment:
                inputs, targets = applied(apply, inputs, targets=targets, rng=rng)
        return inputs.contiguous(memory_format=self._layout), targets
