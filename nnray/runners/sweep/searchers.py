"""Who proposes what to try: Optuna's samplers, by name and seeded.

A searcher is a function of the metric, its direction and a seed that gives an Optuna sampler; any
sampler of the user's own works the same. ``study.py`` asks it and tells it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnray.fields import NonNegativeInt, PositiveInt

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

_SEEDS = 2**32


def tpe(
    metric: str, mode: str, seed: int, *, startup_trials: NonNegativeInt = 10, candidates: PositiveInt = 24
) -> BaseSampler:
    """Tree-structured Parzen estimator: tries more of what resembles the good trials so far.

    Parameters are modelled together, and running trials count as bad ones meanwhile, so that
    workers beside each other don't try the same.

    Args:
        metric: What is judged by.
        mode: Which way it is better.
        seed: Same seed and same results told, same proposals.
        startup_trials: Trials at random before the model is trusted.
        candidates: Points drawn for each proposal, of which the most promising is taken.

    Source:
        Bergstra et al., "Algorithms for Hyper-Parameter Optimization", 2011; Watanabe,
        "Tree-Structured Parzen Estimator", 2023.
    """
    from optuna.samplers import TPESampler

    return TPESampler(
        n_startup_trials=startup_trials,
        n_ei_candidates=candidates,
        multivariate=True,
        constant_liar=True,
        seed=seed % _SEEDS,
    )


def random(metric: str, mode: str, seed: int) -> BaseSampler:
    """Independent draws from the ranges: the yardstick for every other searcher.

    Args:
        metric: What is judged by.
        mode: Which way it is better.
        seed: Same seed, same proposals.

    Source:
        Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", 2012.
    """
    from optuna.samplers import RandomSampler

    return RandomSampler(seed=seed % _SEEDS)
