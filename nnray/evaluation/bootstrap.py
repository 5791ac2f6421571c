"""How far a figure would move with other test examples of the same kind: percentile bootstrap.

A resample of N examples is how often each was drawn, so each metric is one of weighted examples, and a
block of resamples is one matrix: for accuracy, loss and F1 a product, for AUROC running sums along the
examples in the order of their score.

Shapes: N examples, K classes, R resamples of a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from nnray.evaluation.predictions import Predictions
from nnray.evaluation.scores import score
from nnray.seeding import torch_rng

METRICS = ("accuracy", "f1_macro", "auroc", "log_loss")
_BLOCK = 1 << 21
_LEAST = 2


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a figure lies, at a level of confidence.

    Args:
        value: Of the examples themselves.
        low: Its lower end.
        high: Its upper end.
        level: Of confidence.
        resamples: That the figure was defined for.
    """

    value: float
    low: float
    high: float
    level: float
    resamples: int


def bootstrap(
    predictions: Predictions,
    *,
    seed: int,
    resamples: int = 1000,
    level: float = 0.95,
    metrics: Mapping[str, float] | None = None,
) -> dict[str, Interval]:
    """Intervals of accuracy, macro F1, AUROC and log loss; those that are undefined are left out.

    Examples are drawn with replacement, of all classes together.

    Args:
        predictions: What is measured.
        seed: Of the draws.
        resamples: How many sets of N examples are drawn.
        level: Of confidence, two-sided.
        metrics: As `score` gives them, where a caller has them already.

    Source:
        Efron, Bootstrap Methods: Another Look at the Jackknife, 1979; the percentile interval of Efron, 1981.
    """
    blocks = [_metrics(predictions, w_RN) for w_RN in _draws(len(predictions), resamples, seed=seed)]
    values, found = metrics or score(predictions, top_k=()), {}
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    for name in METRICS:
        drawn = torch.cat([block[name] for block in blocks])
        drawn = drawn[~drawn.isnan()]
        if len(drawn) >= _LEAST and values[name] == values[name]:
            low, high = drawn.quantile(tails).tolist()
            found[name] = Interval(values[name], low, high, level, len(drawn))
    return found


def _draws(num_examples: int, resamples: int, *, seed: int) -> Iterator[Tensor]:
    """How often each example is in each resample, ``[R, N] float64``, in blocks that memory has room for."""
    rng, rows = torch_rng(seed, "evaluate", "bootstrap"), max(1, _BLOCK // num_examples)
    for start in range(0, resamples, rows):
        index_RN = torch.randint(num_examples, (min(rows, resamples - start), num_examples), generator=rng)
        ones_RN = torch.ones(index_RN.shape, dtype=torch.float64)
        yield torch.zeros_like(ones_RN).scatter_add_(1, index_RN, ones_RN)


def _metrics(predictions: Predictions, w_RN: Tensor) -> dict[str, Tensor]:
    """Each metric of each resample, ``[R]``; NaN where it is undefined."""
    hits_N = (predictions.predicted == predictions.targets).double()
    count = len(predictions)
    return {
        "accuracy": w_RN @ hits_N / count,
        "log_loss": w_RN @ predictions.losses / count,
        "f1_macro": _f1_macro(predictions, w_RN),
        "auroc": _auroc(predictions, w_RN),
    }


def _f1_macro(predictions: Predictions, w_RN: Tensor) -> Tensor:
    targets_NK, predicted_NK = (
        one_hot(labels, predictions.num_classes).double()
        for labels in (predictions.targets, predictions.predicted)
    )
    hits_RK = w_RN @ (targets_NK * predicted_NK)
    of_either_RK = w_RN @ (targets_NK + predicted_NK)
    f1_RK = torch.where(of_either_RK > 0, 2 * hits_RK / of_either_RK, torch.nan)
    return f1_RK.nanmean(1)


def _auroc(predictions: Predictions, w_RN: Tensor) -> Tensor:
    probabilities_NK, count = predictions.probabilities, predictions.num_classes
    wanted = [1] if count == 2 else range(count)
    w_NR = w_RN.T.contiguous()
    areas = [area(probabilities_NK[:, k], predictions.targets == k, w_NR) for k in wanted]
    return torch.stack(areas, 1).nanmean(1)


def area(rated_N: Tensor, is_class_N: Tensor, w_NR: Tensor) -> Tensor:
    """AUROC of weighted examples for each column of weights; NaN where a side weighs nothing.

    It is the share of pairs in which the example of the class is rated higher, a tie counting half. Only the
    distinct ratings of the class are gone through; the rest are counted between and at them.

    Shape:
        rated_N: ``[N]``.
        is_class_N: ``[N] bool``.
        w_NR: ``[N, R]``.
    """
    levels_G, group = torch.unique(rated_N[is_class_N], return_inverse=True)
    rest_N = rated_N[~is_class_N].contiguous()
    # Place 2g is between levels g - 1 and g, place 2g + 1 is at level g.
    place = torch.searchsorted(levels_G, rest_N) + torch.searchsorted(levels_G, rest_N, right=True)
    positive_GR = w_NR.new_zeros(len(levels_G), w_NR.shape[1]).index_add_(0, group, w_NR[is_class_N])
    negative_PR = w_NR.new_zeros(2 * len(levels_G) + 1, w_NR.shape[1]).index_add_(0, place, w_NR[~is_class_N])
    below_GR = negative_PR.cumsum(0)[0:-1:2]
    pairs_R = positive_GR.sum(0) * negative_PR.sum(0)
    higher_R = (positive_GR * (below_GR + negative_PR[1::2] / 2)).sum(0)
    return torch.where(pairs_R > 0, higher_R / pairs_R, torch.nan)
