"""From a set that streams to splits that can be trained on: the splits of a set in memory, unread.

Labels are known already; the inputs are read once, for their mean and deviation, their digest and
the check of every value. What is held back is chosen as for a set in memory, so the same
files give the same splits either way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from nnray.data.splits import DataInfo, DataSplits
from nnray.data.statistics import class_counts
from nnray.data.stratify import held_for_validation, limited
from nnray.data.stream import Array, Reader, Source, Streamed, Streams, read_here
from nnray.data.stream_labels import classes_of, numbered
from nnray.data.stream_memory import held_back
from nnray.data.stream_moments import RunningMoments
from nnray.data.stream_order import plan
from nnray.data.uneven import tell
from nnray.errors import DataError

_SLACK = 1e-4


def prepare_streams(
    streams: Streams,
    *,
    name: str,
    seed: int,
    validation: float = 0.1,
    limit: int | None = None,
    normalize: bool = True,
    count_classes: bool = True,
    buffer_bytes: int = 128 << 20,
    reader: Reader = read_here,
) -> DataSplits:
    """Split and measure a set, reading it once; its test split stays unread until it is called for.

    Args:
        streams: What the data set function returned.
        name: The data set, as in the experiment.
        seed: Of the experiment: which examples are held back, and which are kept under ``limit``.
        validation: Share (below 1) or count (from 1 on) of training examples to hold back,
            stratified; not used if the data set has a validation split of its own.
        limit: Train on so many examples at most, stratified; the validation split stays the same.
        normalize: Measure mean and standard deviation, on the training split only; else both are empty.
        count_classes: Count training examples by class; else the counts are empty.
        buffer_bytes: Memory to shuffle in.
        reader: Who reads.

    Raises:
        DataError: Data that can't be learnt from, or too few.
    """
    classes = streams.classes or classes_of(streams.train, name=name)
    made = _Maker(classes, name, buffer_bytes, reader)
    train = made.streamed(streams.train, "train")
    held = held_back(streams, train.labels, name=name)
    train = replace(train, chosen=~held)
    test = made.later(streams, train, held)
    val = made.streamed(streams.val, "val") if streams.val is not None else None
    if val is None:
        chosen = _chosen(train, seed=seed, validation=validation)
        train, val = replace(train, chosen=train.chosen & ~chosen), replace(train, chosen=chosen)
    train = _limited(train, limit, seed=seed)
    tell(_targets(train), _targets(val), classes=classes, name=name)
    mean, std, digest = _measured(train, val, name=name)
    info = DataInfo(name, tuple(streams.train.shape), classes, digest=digest)
    if count_classes:
        info = replace(info, class_counts=class_counts(_targets(train), info))
    if normalize:
        info = replace(info, mean=mean, std=std)
    return DataSplits(train, val, test, info)


@dataclass(frozen=True, slots=True)
class _Maker:
    classes: tuple[str, ...]
    name: str
    buffer_bytes: int
    reader: Reader

    def streamed(self, source: Source, part: str) -> Streamed:
        labels = numbered(source, self.classes, where=f"{self.name}: {part}")
        chosen = np.ones(len(labels), dtype=np.bool_)
        return Streamed(source, labels, chosen, self.buffer_bytes, self.reader)

    def later(self, streams: Streams, train: Streamed, held: Array) -> _Test | None:
        if streams.test is None and not held.any():
            return None
        return _Test(self, streams, replace(train, chosen=held))


@dataclass(frozen=True, slots=True)
class _Test:
    """The test split, opened when it is called."""

    maker: _Maker
    streams: Streams
    held: Streamed

    def __call__(self) -> Streamed:
        if self.streams.test is None:
            return self.held
        return self.maker.streamed(self.streams.test(), "test")


def _targets(streamed: Streamed) -> torch.Tensor:
    return torch.from_numpy(streamed.labels[streamed.chosen].astype(np.int64))


def _among(streamed: Streamed, index: torch.Tensor) -> Array:
    """A choice among the chosen, as a choice among all."""
    chosen = np.zeros(len(streamed.chosen), dtype=np.bool_)
    chosen[np.flatnonzero(streamed.chosen)[index.numpy()]] = True
    return chosen


def _chosen(train: Streamed, *, seed: int, validation: float) -> Array:
    return _among(train, held_for_validation(_targets(train), amount=validation, seed=seed)[0])


def _limited(train: Streamed, limit: int | None, *, seed: int) -> Streamed:
    if limit is None or limit >= len(train):
        return train
    kept = limited(_targets(train), limit=limit, seed=seed)
    return replace(train, chosen=_among(train, kept))


def _measured(
    train: Streamed, val: Streamed, *, name: str
) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """Mean, deviation and digest, in one pass over the training and one over the validation split."""
    sha = hashlib.sha256()
    moments = RunningMoments(train.source.shape, byte=train.source.dtype == np.uint8)
    for block in _hashed(train, sha, where=f"{name}: train"):
        moments.add(block)
    for _ in _hashed(val, sha, where=f"{name}: val"):
        pass
    mean, std = moments.finish()
    return mean, std, sha.hexdigest()


def _hashed(streamed: Streamed, sha: hashlib._Hash, *, where: str) -> Iterator[Array]:
    for block in streamed.blocks(plan(streamed.counts, num_lanes=1)):
        if block.ndim == 4 and block.dtype != np.uint8:
            _check_range(block, where=where)
        sha.update(np.ascontiguousarray(block).data)
        yield block
    sha.update(streamed.labels[streamed.chosen].astype(np.int64).data)


def _check_range(block: Array, *, where: str) -> None:
    low, high = float(block.min()), float(block.max())
    if low < -_SLACK or high > 1 + _SLACK:
        raise DataError(
            f"{where}: pixels go from {low:g} to {high:g}; allowed: 0 to 1 as floats, or 0 to 255 as bytes"
        )
