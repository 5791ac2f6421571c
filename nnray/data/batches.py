"""Batches of resident examples, sliced by index: the hot path of training.

Examples are gathered, converted and laid out a block of batches at a time, and batches are
views of a block. A block is small enough to stay in the cache of a core, and large enough
that the cost of the calls is shared by its batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from nnray.data.splits import Examples
from nnray.errors import NnrayError, UserCodeError
from nnray.seeding import derive, torch_rng

Augmentation = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
"""From inputs ``[B, ...] float32``, targets and a seeded CPU generator to inputs and targets.

Draws come from the generator alone; the inputs are not changed in place.
"""

_CPU_BLOCK_BYTES = 1 << 20
_DEVICE_BLOCK_BYTES = 64 << 20
_RESIDENT_SHARE = 0.5


class Batches:
    """Batches of a split; the same for each call with the same arguments.

    Inputs are handed out as float32, bytes scaled to 0 to 1, not normalised: that is the first
    layer of a model.

    Args:
        examples: What to hand out; moved to the device once, if they fit there.
        batch_size: Examples in each batch; the last may have fewer.
        seed: Of the order and the augmentation.
        shuffle: A new order each epoch; else the order of the examples.
        augment: Applied to each batch, one after the other.
        device: Where batches are handed out.
        channels_last: Lay images out by pixel, not by channel.
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
    ) -> None:
        assert batch_size > 0, batch_size
        self.device = torch.device(device)
        self.batch_size, self.seed, self.shuffle, self.augment = batch_size, seed, shuffle, tuple(augment)
        by_pixel = channels_last and examples.inputs.ndim == 4
        self._layout = torch.channels_last if by_pixel else torch.contiguous_format
        # Laid out once, not batch by batch; but augmentation works by rows of a channel.
        self._stored_by_pixel = by_pixel and not self.augment
        self._examples = _resident(examples, self.device, by_pixel=self._stored_by_pixel)
        self._block = _block_size(examples, batch_size=batch_size, device=self.device)

    @property
    def num_examples(self) -> int:
        """Examples in an epoch."""
        return len(self._examples)

    @property
    def num_batches(self) -> int:
        """Batches in an epoch, a short last one included."""
        return -(-self.num_examples // self.batch_size)

    def __len__(self) -> int:
        return self.num_batches

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Hand out each example once; depends only on the seed and the number.

        Args:
            number: Of the epoch.
        """
        batches = self._batches(number)
        return self._augmented(batches, number) if self.augment else batches

    def _batches(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = self._order(number)
        for start in range(0, self.num_examples, self._block):
            inputs, targets = self._gather(order, slice(start, start + self._block))
            size = self.batch_size
            yield from zip(torch.split(inputs, size), torch.split(targets, size), strict=True)

    def _order(self, number: int) -> Tensor | None:
        if not self.shuffle:
            return None
        order = torch.randperm(self.num_examples, generator=torch_rng(self.seed, "order", number))
        return order.to(self._examples.inputs.device)

    def _gather(self, order: Tensor | None, block: slice) -> tuple[Tensor, Tensor]:
        inputs, targets = self._examples.inputs, self._examples.targets
        if order is None:
            # Copied: a model that works in place must not change the examples.
            inputs, targets = inputs[block].clone(), targets[block].clone()
        else:
            inputs, targets = inputs.index_select(0, order[block]), targets.index_select(0, order[block])
        targets = targets.to(self.device, non_blocking=True)
        inputs = _as_float(inputs.to(self.device, non_blocking=True))
        return inputs.permute(0, 3, 1, 2) if self._stored_by_pixel else inputs, targets

    def _augmented(
        self, batches: Iterator[tuple[Tensor, Tensor]], number: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        rng = torch.Generator()
        for index, (inputs, targets) in enumerate(batches):
            rng.manual_seed(derive(self.seed, "augment", number, index))
            for apply in self.augment:
                inputs, targets = _applied(apply, inputs, targets, rng)
            yield inputs.contiguous(memory_format=self._layout), targets


def _as_float(inputs: Tensor) -> Tensor:
    # Divided, as torchvision's ToTensor does: multiplying by 1 / 255 has other bits.
    return inputs.to(torch.float32).div_(255) if inputs.dtype == torch.uint8 else inputs


def _applied(
    apply: Augmentation, inputs: Tensor, targets: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    name = f"{apply.__module__}:{getattr(apply, '__qualname__', type(apply).__qualname__)}"
    expected = "expected (inputs [B, ...] float32, targets [B] or [B, K]) of the same B"
    try:
        result = apply(inputs, targets, rng)
        new_inputs, new_targets = result
        fits = len(new_inputs) == len(new_targets) == len(inputs) and new_inputs.dtype == torch.float32
    except NnrayError:
        raise
    except Exception as error:
        raise UserCodeError(name, f"raised {type(error).__name__}: {error}; {expected}") from error
    if not fits:
        got = f"{tuple(new_inputs.shape)} {new_inputs.dtype}, {tuple(new_targets.shape)}"
        raise UserCodeError(name, f"returned {got}; {expected}")
    return result


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
