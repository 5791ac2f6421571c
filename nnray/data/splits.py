"""The nouns of data: labelled examples, what is known of them, and their three splits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from nnray.data.groups import GroupReader
from nnray.data.stream import Streamed


@dataclass(frozen=True, slots=True)
class Examples:
    """Labelled examples, resident in memory and sliced by index.

    Shape:
        inputs: ``[N, C, H, W] uint8`` (0 to 255) or ``float32`` (0 to 1) for images,
            ``[N, F] float32`` for vectors, NaN where a value is missing.
        targets: ``[N] int64``, 0 to K - 1.
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: Tensor) -> Examples:
        """The examples at ``index``, in that order."""
        return Examples(self.inputs[index], self.targets[index])


Split = Examples | Streamed
"""In memory, or read anew each epoch."""


@dataclass(frozen=True, slots=True)
class DataInfo:
    """What models and tasks may know of a data set; all of it read off the data.

    Args:
        name: Name of the data set, as in the experiment.
        input_shape: ``(C, H, W)`` or ``(F,)``.
        classes: Names of the classes, by label.
        mean: Of the training split, by channel or feature, after scaling images to 0 to 1.
        std: Likewise; 1 where a channel or feature is constant.
        digest: SHA-256 over the training and validation splits, as hex.
        missing: Whether values may be missing, which are NaN; no other data set may hold a NaN.
    """

    name: str
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    digest: str = ""
    missing: bool = False

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)


@dataclass(frozen=True, slots=True)
class DataSplits:
    """Training, validation and test examples.

    Args:
        train: What a model learns from.
        val: What choices are made by; None until it has been split off ``train``, or if none is wanted.
        test: What the final model is measured on, read only when called for; None if there is none.
        info: Read off ``train``.
        groups: Tells who each example of ``train`` came from; None where the data set doesn't know.
    """

    train: Split
    val: Split | None
    test: Callable[[], Split] | None
    info: DataInfo
    groups: GroupReader | None = None
