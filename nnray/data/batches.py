"""Batches of resident examples, sliced by index: the hot path of training.

Examples are gathered, converted and laid out a block of batches at a time, and batches are
views of a block. A block is small enough to stay in the cache of a core, and large enough
that the cost of the calls is shared by its batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from nnray.data.buckets import bucketed, text_lengths
from nnray.data.parts import local_order, part_of
from nnray.data.splits import Examples
from nnray.errors import NnrayError, UserCodeError
from nnray.seeding import derive, torch_rng

Augmentation = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
"""From inputs ``[B, ...]``, float32 or tokens, targets and a seeded CPU generator to inputs and targets.

Draws come from the generator alone; the inputs are not changed in place.
"""

_CPU_BLOCK_BYTES = 1 << 20
_DEVICE_BLOCK_BYTES = 64 << 20
_RESIDENT_SHARE = 0.5


class Batches:
    """Batches of a split; the same for each call with the same arguments.

    Inputs are handed out as float32, bytes scaled to 0 to 1, not normalised: that is the first
    layer of a model. Ids of tokens stay int64.

    Args:
        examples: What to hand out; moved to the device once, if they fit there.
        batch_size: Examples in each batch; the last may have fewer.
        seed: Of the order and the augmentation.
        shuffle: A new order each epoch; else the order of the examples.
        augment: Applied to each batch, one after the other.
        device: Where batches are handed out.
        channels_last: Lay images out by pixel, not by channel.
        rank: Hand out this rank's part of each batch: of the same batches, whatever the number of ranks.
            Where it has none, as of a batch smaller than the ranks are many, it gets one example's input and
            no target, so that it can take part in what the others do.
        num_ranks: How many ranks there are.
        pooled: Batches whose texts are sorted by length together, in a shuffled order: each batch then has
            texts of similar lengths, and as many places as its longest one. 0 leaves texts as they are.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = False,
        augment: Sequence[Augmentation] = (),
        device: str | torch.device = "cpu",
        channels_last: bool = False,
        rank: int = 0,
        num_ranks: int = 1,
        pooled: int = 0,
    ) -> None:
        assert batch_size > 0, batch_size
        assert not pooled or (shuffle and examples.inputs.ndim == 2 and examples.targets.ndim == 1), pooled
        assert 0 <= rank < num_ranks, (rank, num_ranks)
        self.rank, self.num_ranks = rank, num_ranks
        self.device = torch.device(device)
        self.batch_size, self.seed, self.shuffle, self.augment = batch_size, seed, shuffle, tuple(augment)
        by_pixel = channels_last and examples.inputs.ndim == 4
        self._layout = torch.channels_last if by_pixel else torch.contiguous_format
        # Laid out once, not batch by batch; but augmentation works by rows of a channel.
        self._stored_by_pixel = by_pixel and not self.augment
        self._examples = _resident(examples, self.device, by_pixel=self._stored_by_pixel)
        self._pooled = pooled
        self._lengths = text_lengths(examples.inputs) if pooled else None
        self._part_size = max(1, self._num_own(batch_size))
        self._block = _block_size(examples, batch_size=self._part_size, device=self.device)

    @property
    def num_examples(self) -> int:
        """Examples in an epoch, over all ranks."""
        return len(self._examples)

    @property
    def num_batches(self) -> int:
        """Batches in an epoch, a short last one included."""
        return -(-self.num_examples // self.batch_size)

    def __len__(self) -> int:
        return self.num_batches

    def share(self, number: int) -> float:
        """What this rank's part of a batch weighs: its size over the mean size of the parts.

        Args:
            number: Of the batch, counted from 1.
        """
        whole = min(self.batch_size, self.num_examples - (number - 1) * self.batch_size)
        return self._num_own(whole) * self.num_ranks / whole

    def _num_own(self, whole: int) -> int:
        return len(range(whole)[part_of(whole, rank=self.rank, size=self.num_ranks)])

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Hand out each example once, over all ranks; depends only on the seed and the number.

        Args:
            number: Of the epoch.
        """
        batches = self._batches(number)
        return self._augmented(batches, number) if self.augment else batches

    def _batches(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        order, size, done = self._order(number), self._part_size, 0
        count = self.num_examples if order is None else len(order)
        for start in range(0, count, self._block):
            block = slice(start, start + self._block)
            inputs, targets = self._gather(order, block)
            parts = zip(torch.split(inputs, size), torch.split(targets, size), strict=True)
            yield from parts if self._lengths is None else self._trimmed(parts, order, block)
            done += -(-len(targets) // size)
        for _ in range(done, self.num_batches):
            inputs, targets = self._gather(None, slice(0, 1))
            yield inputs, targets[:0]

    def _order(self, number: int) -> Tensor | None:
        if self.num_ranks == 1 and not self.shuffle:
            return None
        order = torch.arange(self.num_examples)
        if self.shuffle:
            rng = torch_rng(self.seed, "order", number)
            order = torch.randperm(self.num_examples, generator=rng)
            if self._lengths is not None:
                size, pooled = self.batch_size, self._pooled
                order = bucketed(order, self._lengths, batch_size=size, pooled=pooled, rng=rng)
        if self.num_ranks > 1:
            order = local_order(order, batch_size=self.batch_size, rank=self.rank, size=self.num_ranks)
        # Lengths are looked up here: asking a device for them would mean to wait for it, batch by batch.
        return order if self._lengths is not None else order.to(self._examples.inputs.device)

    def _gather(self, order: Tensor | None, block: slice) -> tuple[Tensor, Tensor]:
        inputs, targets = self._examples.inputs, self._examples.targets
        if order is None:
            # Copied: a model that works in place must not change the examples.
            inputs, targets = inputs[block].clone(), targets[block].clone()
        else:
            index = order[block].to(inputs.device)
            inputs, targets = inputs.index_select(0, index), targets.index_select(0, index)
        targets = targets.to(self.device, non_blocking=True)
        inputs = as_float(inputs.to(self.device, non_blocking=True))
        return inputs.permute(0, 3, 1, 2) if self._stored_by_pixel else inputs, targets

    def _trimmed(
        self, parts: Iterable[tuple[Tensor, Tensor]], order: Tensor | None, block: slice
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches with as many places as their longest text."""
        assert order is not None and self._lengths is not None
        lengths = torch.split(self._lengths[order[block]], self._part_size)
        for (inputs, targets), own in zip(parts, lengths, strict=True):
            yield inputs[:, : int(own.max())], targets

    def _augmented(
        self, batches: Iterator[tuple[Tensor, Tensor]], number: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        rng = torch.Generator()
        own = ("rank", self.rank) if self.num_ranks > 1 else ()
        for index, (inputs, targets) in enumerate(batches):
            rng.manual_seed(derive(self.seed, "augment", number, index, *own))
            for apply in self.augment if len(targets) else ():
                inputs, targets = applied(apply, inputs, targets=targets, rng=rng)
            yield inputs.contiguous(memory_format=self._layout), targets


def as_float(inputs: Tensor) -> Tensor:
    """Bytes as floats from 0 to 1; floats as they are."""
    # Divided, as torchvision's ToTensor does: multiplying by 1 / 255 has other bits.
    return inputs.to(torch.float32).div_(255) if inputs.dtype == torch.uint8 else inputs


def applied(
    apply: Augmentation, inputs: Tensor, *, targets: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """One augmentation of a batch, checked.

    Args:
        apply: What is applied.
        inputs: Of the batch.
        targets: Likewise.
        rng: What it draws from.

    Raises:
        UserCodeError: It raised, or returned no such batch.
    """
    name = f"{apply.__module__}:{getattr(apply, '__qualname__', type(apply).__qualname__)}"
    kind = str(inputs.dtype).removeprefix("torch.")
    expected = f"expected (inputs [B, ...] {kind}, targets [B] or [B, K]) of the same B"
    try:
        result = apply(inputs, targets, rng)
        new_inputs, new_targets = result
        fits = len(new_inputs) == len(new_targets) == len(inputs) and new_inputs.dtype == inputs.dtype
    except NnrayError:
        raise
    except Exception as error:
        raise UserCodeError(name, f"raised {type(error).__name__}: {error}; {expected}") from error
    if not fits:
        got = f"{tuple(new_inputs.shape)} {new_inputs.dtype}, {tuple(new_targets.shape)}"
        raise UserCodeError(name, f"returned {got}; {expected}")
    return result


def laid_out(inputs: Tensor, *, by_pixel: bool) -> Tensor:
    """Images laid out by pixel, where that is asked for; all other inputs as they are."""
    if not by_pixel or inputs.ndim != 4:
        return inputs
    return inputs.contiguous(memory_format=torch.channels_last)


def _resident(examples: Examples, device: torch.device, *, by_pixel: bool) -> Examples:
    """The examples laid out, and on the device, if at most half of its free memory is taken by them."""
    inputs, targets = examples.inputs, examples.targets
    inputs = inputs.permute(0, 2, 3, 1).contiguous() if by_pixel else inputs
    if device.type != "cuda":
        return Examples(inputs, targets)
    free, _ = torch.cuda.mem_get_info(device)
    if inputs.nbytes + targets.nbytes > _RESIDENT_SHARE * free:
        return Examples(inputs, targets)
    return Examples(inputs.to(device), targets.to(device))


def _block_size(examples: Examples, *, batch_size: int, device: torch.device) -> int:
    """How many examples to gather at a time: whole batches, at least one."""
    example_bytes = 4 * max(1, examples.inputs[:1].numel())
    wanted = (_CPU_BLOCK_BYTES if device.type == "cpu" else _DEVICE_BLOCK_BYTES) // example_bytes
    return max(1, wanted // batch_size) * batch_size
