"""How far a figure would move with other test examples of the same kind: percentile bootstrap.

A resample of N examples is how often each was drawn, so each metric is one of weighted examples, and a
block of resamples is a matrix of weights whose rows are summed by class, or by rank for AUROC.

Shapes: N examples, K classes, R resamples of a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nnray.evaluation.predictions import Predictions
from nnray.evaluation.ranking import Ranking, auroc, rank
from nnray.evaluation.scores import has_both, score
from nnray.seeding import torch_rng

METRICS = ("accuracy", "f1_macro", "auroc", "log_loss")
_BLOCK = 1 << 19
"""Weights of a block: few enough for a processor's cache."""
_EXACT = 1 << 24
"""Counts below it are exact in float32."""
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
    metrics_of = _Resampled.of(predictions).metrics
    blocks = [metrics_of(w_NR) for w_NR in _draws(len(predictions), resamples, seed=seed)]
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
    """How often each example is in each resample, ``[N, R]``, in blocks that memory has room for."""
    rng, most = torch_rng(seed, "evaluate", "bootstrap"), max(1, _BLOCK // num_examples)
    dtype = torch.float32 if num_examples < _EXACT else torch.float64
    for start in range(0, resamples, most):
        count = min(most, resamples - start)
        drawn_RN = torch.randint(num_examples, (count, num_examples), generator=rng)
        cells_RN = drawn_RN.mul_(count).add_(torch.arange(count)[:, None])
        times = torch.bincount(cells_RN.view(-1), minlength=num_examples * count)
        yield times.view(num_examples, count).to(dtype)


@dataclass(frozen=True, slots=True, eq=False)
class _Resampled:
    """What of some predictions is the same in all resamples.

    Args:
        predictions: All of them.
        hits: Whether each is right, ``[N] bool``.
        losses: ``[N] float64``.
        rankings: Of each class that AUROC is a mean of.
    """

    predictions: Predictions
    hits: Tensor
    losses: Tensor
    rankings: Sequence[Ranking]

    @classmethod
    def of(cls, predictions: Predictions) -> _Resampled:
        probabilities_KN, targets = predictions.probabilities.T, predictions.targets
        defined = has_both(predictions).nonzero()[:, 0].tolist()
        wanted = [label for label in defined if label == 1 or predictions.num_classes > 2]
        rankings = [rank(probabilities_KN[label], targets == label) for label in wanted]
        return cls(predictions, predictions.predicted == targets, predictions.losses, rankings)

    def metrics(self, w_NR: Tensor) -> dict[str, Tensor]:
        """Each metric of each resample, ``[R]``; NaN where it is undefined."""
        num_examples, num_resamples = w_NR.shape
        found = {
            "accuracy": w_NR[self.hits].sum(0, dtype=torch.float64) / num_examples,
            "log_loss": self.losses @ w_NR.double() / num_examples,
            "f1_macro": self._f1_macro(w_NR),
            "auroc": torch.full((num_resamples,), torch.nan, dtype=torch.float64),
        }
        if self.rankings:
            areas = [auroc(*ranking.tally(w_NR)) for ranking in self.rankings]
            found["auroc"] = torch.stack(areas).nanmean(0)
        return found

    def _f1_macro(self, w_NR: Tensor) -> Tensor:
        targets, predicted = self.predictions.targets, self.predictions.predicted
        zeros_KR = w_NR.new_zeros(self.predictions.num_classes, w_NR.shape[1])
        of_either_KR = zeros_KR.index_add(0, targets, w_NR).index_add_(0, predicted, w_NR).double()
        hits_KR = zeros_KR.index_add_(0, targets[self.hits], w_NR[self.hits]).double()
        return torch.where(of_either_KR > 0, 2 * hits_KR / of_either_KR, torch.nan).nanmean(0)
