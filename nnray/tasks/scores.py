"""How well the score of the second of two classes puts its examples first, from counts by bin of score.

The score is the difference of the two logits, the log-odds. Bins are of equal width in asinh(64 score), from
-40 to 40: fine near 0, where an untrained model's scores lie, and coarser outwards; what lies beyond counts
in the outermost. Within a bin examples count as tied, so metrics are exact but for scores that share a bin.
"""

from __future__ import annotations

from math import asinh

import numpy as np
import torch
from torch import Tensor

from nnray.metrics import Array

_FURTHEST, _FINENESS = 40.0, 64.0


def score_counts(logits_B2: Tensor, labels_B: Tensor, *, num_bins: int) -> Tensor:
    """Examples by class and by bin of score, ``[2, M] int64``; NaN counts as a score of 0.

    Args:
        logits_B2: Of two classes.
        labels_B: 0 or 1.
        num_bins: M.
    """
    scores_B = (logits_B2[:, 1] - logits_B2[:, 0]).float().nan_to_num(0.0)
    reach = asinh(_FURTHEST * _FINENESS)
    share_B = (torch.asinh(scores_B * _FINENESS) / reach + 1) / 2
    bins_B = (share_B * num_bins).floor().clamp(0, num_bins - 1).long()
    counts = torch.zeros(2 * num_bins, dtype=torch.int64, device=labels_B.device)
    return counts.index_add_(0, labels_B * num_bins + bins_B, torch.ones_like(labels_B)).view(2, num_bins)


def score_metrics(counts: Array) -> dict[str, float]:
    """``auroc``, ``auprc`` (average precision) and ``ks`` of the second class.

    Where a class has no examples, ``auroc`` is 0.5, ``ks`` 0, and ``auprc`` the share of the second class.

    Args:
        counts: As ``score_counts`` gives them, summed.

    Source: Fawcett, "An introduction to ROC analysis", 2006; average precision as by scikit-learn: the mean
        of the precision at each threshold, weighted by the gain in recall; Kolmogorov and Smirnov's distance
        is the largest gap between the shares of both classes above a threshold.
    """
    false, true = counts[:, ::-1]
    negatives, positives = float(false.sum()), float(true.sum())
    if not negatives or not positives:
        return {"auroc": 0.5, "auprc": float(positives > 0), "ks": 0.0}
    above_false, above_true = np.cumsum(false), np.cumsum(true)
    # A pair in one bin is a tie, which counts half.
    pairs = float((false * (above_true - true / 2)).sum())
    seen = np.maximum(above_false + above_true, 1)
    return {
        "auroc": pairs / (negatives * positives),
        "auprc": float((true * above_true / seen).sum()) / positives,
        "ks": float(np.abs(above_true / positives - above_false / negatives).max()),
    }
