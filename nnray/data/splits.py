"""The nouns of data: labelled examples, what is known of them, and their three splits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nnray.data.groups import GroupReader
from nnray.data.stream import Streamed

TargetKind = Literal["class", "classes", "numbers", "boxes"]
"""What is to be answered of an example: its class, one at each of its places, numbers, or boxes."""
NO_CLASS = -100
"""The target of a place that doesn't count."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Examples with what is to be answered of each, resident in memory and sliced by index.

    Shape:
        inputs: ``[N, C, H, W] uint8`` (0 to 255) or ``float32`` (0 to 1) for images, ``[N, C, T] float32``
            for series, ``[N, F] float32`` for vectors, NaN where a value is missing, ``[N, T] int64`` for
            tokens.
        targets: ``[N] int64``, 0 to K - 1, of kind class; ``[N, ...] int64`` of kind classes, -100 where no
            class counts; ``[N, ...] float32`` of kind numbers; ``[N, M, 5] float32`` of kind boxes: class and
            corners (x1, y1, x2, y2), class -1 where there are fewer than M.
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def labels(self) -> Tensor:
        """The class of each example; 0 for all where targets are something else."""
        if self.targets.ndim == 1 and not self.targets.is_floating_point():
            return self.targets
        return torch.zeros(len(self.targets), dtype=torch.int64)

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
        input_shape: ``(C, H, W)``, ``(C, T)``, ``(F,)``, or ``(T,)`` of tokens.
        classes: Names of the classes, by label.
        mean: Of the training split, by channel or feature, after scaling images to 0 to 1.
        std: Likewise; 1 where a channel or feature is constant.
        digest: SHA-256 over the training and validation splits, as hex.
        missing: Whether values may be missing, which are NaN; no other data set may hold a NaN.
        vocabulary: Ids of tokens go from 0, which fills up what is short, to one below this; 0 for no tokens.
        categories: By feature, into how many categories its whole numbers part examples; 0 for a quantity.
        features: Names of features; empty where they have none.
        targets: What is to be answered.
        target_shape: Of one example's targets.
        target_mean: Of targets that are numbers, by channel, in the training split.
        target_std: Likewise.
        target_names: What each place of a row of targets is, such as a film; empty where they have no names.
        class_counts: Training examples of each class, by label; empty where targets are no classes, or the
            data set doesn't tell.
        target_rates: By place of a row of targets, the share of training examples in the last class; empty
            where a data set doesn't tell.
        encoder: How texts and cells become inputs, fitted on the training split, as JSON; empty for none.
        overlap: How many examples behind one share values with it, as windows of a series do, in the order of
            the data and of each group; 0 where none do.
    """

    name: str
    input_shape: tuple[int, ...]
    classes: tuple[str, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    digest: str = ""
    missing: bool = False
    vocabulary: int = 0
    categories: tuple[int, ...] = ()
    features: tuple[str, ...] = ()
    targets: TargetKind = "class"
    target_shape: tuple[int, ...] = ()
    target_mean: tuple[float, ...] = ()
    target_std: tuple[float, ...] = ()
    target_names: tuple[str, ...] = ()
    target_rates: tuple[float, ...] = ()
    class_counts: tuple[int, ...] = ()
    encoder: str = ""
    overlap: int = 0

    @property
    def output_shape(self) -> tuple[int, ...] | None:
        """Of a model's outputs for one example; None where each model has its own."""
        shapes = {"class": (self.num_classes,), "classes": (self.num_classes, *self.target_shape)}
        return {**shapes, "numbers": self.target_shape, "boxes": None}[self.targets]

    def blank(self, count: int = 2) -> Tensor:
        """Inputs that say nothing, as a model takes them."""
        dtype = torch.int64 if self.vocabulary else torch.float32
        return torch.zeros(count, *self.input_shape, dtype=dtype)

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
        refit: Gives the same examples, encoded by what those of ``train`` at an index alone say, such as a
            vocabulary; None where nothing is learnt to encode them. The index is into what the data set gave.
    """

    train: Split
    val: Split | None
    test: Callable[[], Split] | None
    info: DataInfo
    groups: GroupReader | None = None
    refit: Callable[[Tensor], DataSplits] | None = None
