"""A streamed split, or its beginning, read into memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from nnray.data.splits import Examples, Split
from nnray.data.stratify import split_off
from nnray.data.stream import Array, Source, Streamed, Streams, read_here
from nnray.data.stream_labels import classes_of, numbered
from nnray.data.stream_order import plan
from nnray.seeding import derive


def in_memory(streamed: Streamed, number: int | None = None) -> Examples:
    """Read examples in the order of the files, in this process.

    Args:
        streamed: The split.
        number: The first so many; None for all.
    """
    number = len(streamed) if number is None else min(number, len(streamed))
    source = streamed.source
    inputs: Array = np.empty((number, *source.shape), dtype=source.dtype)
    filled = 0
    pieces = plan(streamed.counts, num_lanes=1)
    for block in read_here(streamed, pieces) if number else ():
        part = block[: number - filled]
        inputs[filled : filled + len(part)] = part
        filled += len(part)
        if filled == number:
            break
    labels = streamed.labels[streamed.chosen][:number].astype(np.int64)
    return Examples(torch.from_numpy(inputs), torch.from_numpy(labels))


def first(split: Split, number: int) -> Examples:
    """The first few examples of a split, wherever it is."""
    if isinstance(split, Streamed):
        return in_memory(split, number)
    return split.take(torch.arange(min(number, len(split))))


def held_back(streams: Streams, labels: Array, *, name: str) -> Array:
    """Which training examples are to test on, bool: none where there is a test split."""
    held = np.zeros(len(labels), dtype=np.bool_)
    if streams.test is None and streams.hold_back:
        seed = derive(streams.split_seed, name, "test")
        targets = torch.from_numpy(labels.astype(np.int64))
        held[split_off(targets, amount=streams.hold_back, seed=seed, key="data.test")[0].numpy()] = True
    return held


def resident(streams: Streams, *, name: str) -> dict[str, Any]:
    """All of a set in memory, as a data set function returns it; its test split when called for.

    Args:
        streams: Where it stands.
        name: The data set.
    """
    classes = streams.classes or classes_of(streams.train, name=name)

    def whole(source: Source, part: str) -> Examples:
        labels = numbered(source, classes, where=f"{name}: {part}")
        return in_memory(Streamed(source, labels, np.ones(len(labels), dtype=np.bool_)))

    labels = numbered(streams.train, classes, where=f"{name}: train")
    held = held_back(streams, labels, name=name)
    parts: dict[str, Any] = {"train": in_memory(Streamed(streams.train, labels, ~held)), "classes": classes}
    if streams.val is not None:
        parts["val"] = whole(streams.val, "val")
    if streams.test is not None:
        later = streams.test
        parts["test"] = lambda: whole(later(), "test")
    elif held.any():
        parts["test"] = lambda: in_memory(Streamed(streams.train, labels, held))
    return parts
