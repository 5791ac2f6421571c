"""From what a data set function returned to splits that can be trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nnray.data.check import as_splits
from nnray.data.groups import taken
from nnray.data.splits import DataSplits, Examples
from nnray.data.statistics import class_counts, digest, moments_of, target_moments
from nnray.data.stratify import held_for_validation, limited
from nnray.data.uneven import tell
from nnray.errors import UserCodeError


def prepare(
    result: Any,
    *,
    name: str,
    seed: int,
    validation: float = 0.1,
    limit: int | None = None,
    normalize: bool = True,
    count_classes: bool = True,
) -> DataSplits:
    """Check, split and measure a data set; its test split stays unread until it is called for.

    Args:
        result: What the data set function returned.
        name: The data set, as in the experiment.
        seed: Of the experiment: which examples are held back, and which are kept under ``limit``.
        validation: Share (below 1) or count (from 1 on) of training examples to hold back,
            stratified, 0 for none; not used if the data set has a validation split of its own.
        limit: Train on so many examples at most, stratified; the validation split stays the same.
        normalize: Measure mean and standard deviation, on the training split only; else both are empty.
        count_classes: Count training examples by class, and tell the rates of targets where they are known;
            else both are empty.

    Raises:
        DataError: Data that can't be learnt from, or too few.
        UserCodeError: The function returned something else.
    """
    splits = as_splits(result, name=name)
    train, val = _in_memory(splits)
    count, held, kept = len(train), None, torch.arange(len(train))
    if val is None and validation:
        held, kept = held_for_validation(train.labels, amount=validation, seed=seed)
    if limit is not None and limit < len(kept):
        kept = kept[limited(train.labels[kept], limit=limit, seed=seed)]
    if splits.refit is not None and len(kept) < count:
        splits = _refitted(splits.refit, kept, count=count, name=name)
        train, val = _in_memory(splits)
    val = val if held is None else train.take(held)
    train = train.take(kept) if len(kept) < count else train
    if splits.info.targets == "class":
        tell(train.labels, val.labels if val else None, classes=splits.info.classes, name=name)
    mean, std = moments_of(train.inputs, splits.info) if normalize else ((), ())
    target_mean, target_std = target_moments(train.targets, splits.info)
    info = replace(
        splits.info,
        mean=mean,
        std=std,
        target_mean=target_mean,
        target_std=target_std,
        class_counts=class_counts(train.targets, splits.info) if count_classes else (),
        target_rates=splits.info.target_rates if count_classes else (),
        digest=digest(*(part for part in (train, val) if part)),
    )
    groups = splits.groups and partial(taken, splits.groups, index=kept.numpy(), count=count, name=name)
    return DataSplits(train, val, splits.test, info, groups, splits.refit)


def _in_memory(splits: DataSplits) -> tuple[Examples, Examples | None]:
    train, val = splits.train, splits.val
    assert isinstance(train, Examples) and (val is None or isinstance(val, Examples))
    return train, val


def _refitted(refit: Callable[[Tensor], DataSplits], kept: Tensor, *, count: int, name: str) -> DataSplits:
    """All examples again, encoded by what those that are learnt from say: the others have no part in it."""
    splits = as_splits(refit(kept), name=name)
    if len(splits.train) != count:
        raise UserCodeError(
            name, f"refit() gave {len(splits.train)} examples; expected all {count}, in order"
        )
    return splits
