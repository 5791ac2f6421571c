"""How evenly a model serves its clients: not only how well it does on average."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

WORST = 0.1
"""Share of the clients that are the worst served."""


def spread(values: Sequence[float], *, higher_is_better: bool = True) -> dict[str, float]:
    """What a metric looks like over clients, each counted once.

    Args:
        values: Of each client; at least one.
        higher_is_better: Or worse.

    Returns:
        ``mean``, ``worst10`` (mean over the worst tenth, one client at least), ``variance`` (of the
        population) and ``jain``.

    Source:
        Jain, Chiu and Hawe 1984: (sum of x)^2 / (n * sum of x^2); 1 where all are served alike, 1 / n where
        one has everything. Li et al. 2020, "Fair resource allocation in federated learning", section 4.
    """
    assert values, "there are no clients"
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    number = max(1, math.ceil(len(ordered) * WORST))
    worst = ordered[:number] if higher_is_better else ordered[-number:]
    squares = float(np.square(ordered).sum())
    return {
        "mean": float(ordered.mean()),
        "worst10": float(worst.mean()),
        "variance": float(ordered.var()),
        "jain": float(ordered.sum()) ** 2 / (len(ordered) * squares) if squares else 1.0,
    }
