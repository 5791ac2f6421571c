"""Of two classes: from which probability on the second is predicted, chosen on a validation split."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor

from nnray.evaluation.predictions import Predictions

ThresholdBy = Literal["accuracy", "balanced_accuracy", "f1"]
CRITERIA: tuple[str, ...] = get_args(ThresholdBy)


def choose_threshold(predictions: Predictions, *, by: ThresholdBy) -> float:
    """The threshold with the best criterion; of equal ones that nearest to one half.

    It lies halfway between two probabilities that occur, so that it parts other examples as well as these.

    Args:
        predictions: Of the validation split, of two classes.
        by: What is to be as high as can be; F1 is the second class's; balanced accuracy has its
            best threshold where Youden's J (1950) has it.
    """
    assert predictions.num_classes == 2
    levels, group_N = torch.unique(predictions.probabilities[:, 1], return_inverse=True)
    positive_N = predictions.targets == 1
    in_group = [
        torch.bincount(group_N[side], minlength=len(levels)).double() for side in (positive_N, ~positive_N)
    ]
    # Position g: groups from g on are predicted as the second class; the last is none of them.
    hits, false_alarms = (_from_each(counts) for counts in in_group)
    criterion = _criterion(by, hits, false_alarms)
    halfway = (levels[1:] + levels[:-1]) / 2
    parting = torch.where(halfway > levels[:-1], halfway, levels[1:])
    edges = torch.cat([levels.new_zeros(1), parting, levels.new_full((1,), math.nextafter(1.0, 2.0))])
    best = (criterion >= criterion.max() - 1e-12).nonzero()[:, 0]
    return float(edges[best[(edges[best] - 0.5).abs().argmin()]])


def with_threshold(predictions: Predictions, threshold: float) -> Predictions:
    """The same, with classes parted at ``threshold``."""
    return replace(predictions, threshold=threshold)


def untempered(threshold: float, temperature: float) -> float:
    """The threshold of a model's own probabilities that parts examples as one of tempered ones.

    Args:
        threshold: Of probabilities of logits that were divided by ``temperature``.
        temperature: Above 0.
    """
    if not 0 < threshold < 1:
        return threshold
    return 1 / (1 + math.exp(-temperature * (math.log(threshold) - math.log1p(-threshold))))


def _from_each(counts_G: Tensor) -> Tensor:
    return torch.cat([counts_G.flip(0).cumsum(0).flip(0), counts_G.new_zeros(1)])


def _criterion(by: ThresholdBy, hits: Tensor, false_alarms: Tensor) -> Tensor:
    positives, negatives = hits[0], false_alarms[0]
    if by == "accuracy":
        return (hits + negatives - false_alarms) / (positives + negatives)
    if by == "f1":
        return 2 * hits / (positives + hits + false_alarms).clamp(min=1)
    return hits / positives.clamp(min=1) + 1 - false_alarms / negatives.clamp(min=1)
