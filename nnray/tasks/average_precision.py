"""Detections matched with targets, and what is read off them: average precision and the LRP error.

Shapes: B images, M detections and T targets of an image, K classes, S bins of score. Detections of one bin
count as equally sure, so that sums merge in bounded memory; with 1,000 bins that shifts little.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nnray.metrics import Array
from nnray.tasks.confusion import quotient


def overlaps(boxes_BM4: Tensor, targets_BT4: Tensor) -> Tensor:
    """Intersection over union of each detection with each target, ``[B, M, T]``; 0 for empty boxes."""
    low = torch.maximum(boxes_BM4[:, :, None, :2], targets_BT4[:, None, :, :2])
    high = torch.minimum(boxes_BM4[:, :, None, 2:], targets_BT4[:, None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [(b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1) for b in (boxes_BM4, targets_BT4)]
    union = areas[0][:, :, None] + areas[1][:, None, :] - shared
    return torch.where(union > 0, shared / union, 0.0)


def matched(outputs: Tensor, targets: Tensor, *, threshold: float) -> Tensor:
    """The IoU of each detection with the target that it is given, ``[B, M]``; 0 where it is given none.

    The surest detection chooses first, the best target of its class that is left.

    Args:
        outputs: ``[B, M, 6]``: class, corners and score; class -1 for none.
        targets: ``[B, T, 5]``: class and corners; class -1 for none.
        threshold: No target is given at a lower IoU.

    Source:
        Lin et al., Microsoft COCO, 2014, as its evaluation matches.
    """
    same = (outputs[:, :, None, 0] == targets[:, None, :, 0]) & (targets[:, None, :, 0] >= 0)
    iou_BMT = torch.where(same, overlaps(outputs[..., 1:5], targets[..., 1:]), 0.0)
    order_BM = outputs[..., 5].argsort(dim=1, descending=True, stable=True)
    free_BT = torch.ones_like(iou_BMT[:, 0])
    given_BM = torch.zeros_like(iou_BMT[..., 0])
    rows = torch.arange(len(outputs), device=outputs.device)
    for turn_B in order_BM.unbind(1):
        best_B, at_B = (iou_BMT[rows, turn_B] * free_BT).max(1)
        hit_B = (best_B >= threshold) & (best_B > 0)
        given_BM[rows, turn_B] = torch.where(hit_B, best_B, 0.0)
        free_BT[rows, at_B] *= (~hit_B).to(free_BT.dtype)
    return given_BM


def score_bins(
    outputs: Tensor, given_BM: Tensor, *, num_classes: int, num_bins: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Right detections, wrong ones and the summed IoU of the right ones, by class and bin ``[K, S]``."""
    there = outputs[..., 0] >= 0
    label, score, iou = outputs[..., 0][there].long(), outputs[..., 5][there], given_BM[there]
    bins = (score * num_bins).long().clamp(0, num_bins - 1)
    right = (iou > 0).double()
    cells = label * num_bins + bins

    def summed(values: Tensor) -> Tensor:
        empty = values.new_zeros(num_classes * num_bins)
        return empty.index_add_(0, cells, values).view(num_classes, num_bins)

    return summed(right), summed(1 - right), summed(iou.double())


def average_precision(right: Array, wrong: Array, *, targets: Array) -> Array:
    """The area under precision over recall of each class, ``[K]``; 0 for a class without targets.

    Shape:
        right, wrong: ``[K, S]``, by bin of score.
        targets: ``[K]``.

    Source:
        Everingham et al., The Pascal Visual Object Classes Challenge, 2015, section 4.2: at each recall the
        highest precision from there on, over all points.
    """
    hits, misses = (np.cumsum(counts[:, ::-1], axis=1) for counts in (right, wrong))
    precision = quotient(hits, hits + misses)
    highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    area: Array = (right[:, ::-1] * highest).sum(axis=1)
    return quotient(area, targets)


def lrp_error(right: Array, wrong: Array, *, iou: Array, targets: Array, threshold: float) -> Array:
    """The optimal localisation-recall-precision error of each class, ``[K]``: 0 is perfect, 1 finds nothing.

    Args:
        right: By class and bin of score, ``[K, S]``.
        wrong: Likewise.
        iou: Summed over the right ones, likewise.
        targets: By class, ``[K]``.
        threshold: From which IoU on a detection is right.

    Source:
        Oksuz et al., Localization Recall Precision, 2018, equations 3 and 9, over bins of score.
    """
    hits, misses, sums = (np.cumsum(counts[:, ::-1], axis=1) for counts in (right, wrong, iou))
    gaps = (hits - sums) / (1 - threshold)
    unfound = targets[:, None] - hits
    errors = quotient(gaps + misses + unfound, hits + misses + unfound)
    lowest: Array = np.minimum(errors.min(axis=1), 1.0)
    return lowest
