"""The inputs that are to be explained: from files, by their place in a split, or where the model is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nnray.data.inputs import read_inputs
from nnray.data.splits import DataInfo
from nnray.errors import DataError
from nnray.runners.kinds import require_classes
from nnray.runners.subject import Part, Subject

MOST = 256
"""Inputs that are explained in one go: pictures of more can't be read."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Inputs to be explained.

    Args:
        names: File, or split and place.
        inputs: As the model takes them; NaN where missing.
        labels: The right classes; None where they aren't known.

    Shape:
        inputs: ``[B, ...]``.
        labels: ``[B] int64``.
    """

    names: list[str]
    inputs: Tensor
    labels: Tensor | None = None


def from_files(paths: Sequence[str | Path], subject: Subject, *, resize: bool = False) -> Chosen:
    """Pictures, or rows of tables, as ``nnray predict`` reads them.

    Args:
        paths: Files and folders.
        subject: The model.
        resize: Whether to scale pictures.

    Raises:
        DataError: They can't be read.
    """
    keys = subject.experiment.data.component.kwargs
    tabular = subject.experiment.data.name in ("csv", "parquet")
    found = read_inputs(
        paths,
        subject.info,
        label=keys["label"] if tabular else None,
        columns=(keys.get("columns") or ()) if tabular else (),
        image=keys.get("image") if tabular else None,
        resize=resize,
    ).collect(MOST + 1)
    _require_few(len(found.names))
    return Chosen(found.names, found.inputs)


def from_split(part: Part, subject: Subject, *, index: Sequence[int]) -> Chosen:
    """Examples of a split by their places in it.

    Args:
        part: Which split.
        subject: The model.
        index: From 0, in the order wanted.

    Raises:
        DataError: There is no such split, or no such place.
    """
    _require_few(len(index))
    size = len(subject.examples(part))
    beyond = [place for place in index if not 0 <= place < size]
    if beyond:
        raise DataError(f"{part} split: has no example {beyond[0]}; it has {size}, numbered from 0")
    wanted, found, start = set(index), {}, 0
    for inputs, targets in _on_cpu(part, subject):
        for place in sorted(wanted & set(range(start, start + len(targets)))):
            found[place] = inputs[place - start], targets[place - start]
        start += len(targets)
        if start > max(wanted):
            break
    inputs, labels = (torch.stack(parts) for parts in zip(*(found[place] for place in index), strict=True))
    return Chosen([f"{part} {place}" for place in index], inputs, labels)


def most_wrong(part: Part, subject: Subject, *, count: int) -> Chosen:
    """The examples of a split that the model gets wrong with the most confidence.

    Args:
        part: Which split.
        subject: The model.
        count: How many at most.

    Raises:
        DataError: There is no such split, or nothing in it is wrong.
    """
    require_classes(subject.info, subject.task, verb="explain")
    _require_few(count)
    worst: list[tuple[float, int, Tensor, Tensor]] = []
    start = 0
    for inputs, targets in _on_cpu(part, subject):
        with torch.inference_mode():
            confidence, predicted = subject.module(inputs).softmax(1).max(1)
        worst += [
            (-float(confidence[row]), start + row, inputs[row].clone(), targets[row])
            for row in (predicted != targets).nonzero()[:, 0].tolist()
        ]
        worst = sorted(worst, key=lambda one: one[:2])[:count]
        start += len(targets)
    if not worst:
        raise DataError(f"{part} split: the model is right on all {start} examples; choose some by --index")
    found = torch.stack([one[2] for one in worst]), torch.stack([one[3] for one in worst])
    return Chosen([f"{part} {place}" for _, place, _, _ in worst], *found)


def filled(inputs: Tensor, info: DataInfo) -> Tensor:
    """Inputs with the mean in place of what is missing, which is what the model takes it for."""
    by_feature = inputs.new_tensor(info.mean or (0.0,)).reshape(1, -1, *[1] * (inputs.ndim - 2))
    return torch.where(inputs.isnan(), by_feature, inputs)


def _on_cpu(part: Part, subject: Subject) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of a split where the model is; training may have had them on a GPU."""
    return ((inputs.cpu(), targets.cpu()) for inputs, targets in subject.batches(part).epoch(0))


def _require_few(count: int) -> None:
    if not 0 < count <= MOST:
        raise DataError(f"{count} inputs can't be explained at once; choose 1 to {MOST}")
