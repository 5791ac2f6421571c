"""Greedy ensemble selection from a library of models.

Models are taken one at a time, again and again: each time the one that makes the mean of probabilities
best on validation data. Often taken means much trusted; never taken means left out.

Legend: M models, B examples, K classes.

Source:
    Caruana et al., 2004: with replacement (section 2.1), begun with the best single models (2.2); and the
    best ensemble on the way is kept, so that picks past the best do no harm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Selected:
    """What was selected.

    Args:
        counts: How often each model of the library was taken; 0 for those left out.
        path: The score after each pick.
    """

    counts: list[int]
    path: list[float]


def select(
    logp_MBK: Tensor, score: Callable[[Tensor], float], *, picks: int = 50, begin: int = 1
) -> Selected:
    """Select with replacement.

    Args:
        logp_MBK: Log-probabilities of the library on examples that none of it has learnt from.
        score: Of log-probabilities ``[B, K]``; higher is better.
        picks: How often a model is taken.
        begin: How many of the best single models begin.
    """
    singly = [score(logp_BK) for logp_BK in logp_MBK]
    taken = sorted(range(len(singly)), key=lambda m: -singly[m])[:begin]
    total_BK = logp_MBK[taken].exp().sum(0)
    path = [score(_log_mean(total_BK, len(taken)))]
    while len(taken) < picks:
        scores = [score(_log_mean(total_BK + logp_BK.exp(), len(taken) + 1)) for logp_BK in logp_MBK]
        best = max(range(len(scores)), key=scores.__getitem__)
        taken.append(best)
        total_BK = total_BK + logp_MBK[best].exp()
        path.append(scores[best])
    kept = taken[: begin + max(range(len(path)), key=path.__getitem__)]
    return Selected([kept.count(m) for m in range(len(logp_MBK))], path)


def _log_mean(total_BK: Tensor, number: int) -> Tensor:
    tiny = torch.finfo(total_BK.dtype).tiny
    return (total_BK / number).clamp_min(tiny).log()
