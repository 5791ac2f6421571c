"""Who proposes what to try: Optuna's samplers, by name and seeded.

A searcher is a function of the metric, its direction and a seed that gives an Optuna sampler; any
sampler of the user's own works the same. It is made anew for each trial, with a seed of that
trial's own: what it must remember stands in the study. ``study.py`` asks it and tells it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from nnray.fields import NonNegativeInt, PositiveInt

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from nnray.config import Range

_SEEDS = 2**32
_GP_SEEDS = 2**31


def tpe(
    metric: str,
    mode: str,
    seed: int,
    *,
    startup_trials: NonNegativeInt = 10,
    candidates: PositiveInt = 24,
) -> BaseSampler:
    """Tree-structured Parzen estimator: tries more of what resembles the good trials so far.

    Parameters are modelled together, and running trials count as bad ones meanwhile, so that
    workers beside each other don't try the same. Paths with a condition are modelled one by one,
    and with several objectives all are: together they were no better than random draws there.
    Constraints and what early stopping has ended are learnt from.

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
        constant_liar=True,
        seed=seed % _SEEDS,
    )


def gp(metric: str, mode: str, seed: int, *, startup_trials: NonNegativeInt = 10) -> BaseSampler:
    """Gaussian process: the fewest trials where each is dear; a proposal takes about a second.

    Constraints and several objectives are taken into account. Paths with a condition are drawn at
    random. It learns nothing from trials that early stopping has ended.

    Args:
        metric: What is judged by.
        mode: Which way it is better.
        seed: Same seed and same results told, same proposals.
        startup_trials: Trials at random before the model is trusted.

    Source:
        Snoek, Larochelle and Adams, "Practical Bayesian Optimization", 2012, with the logarithm of
        the expected improvement of Ament et al., 2023.
    """
    from optuna.samplers import GPSampler

    return GPSampler(seed=seed % _GP_SEEDS, n_startup_trials=startup_trials, warn_independent_sampling=False)


def cmaes(
    metric: str,
    mode: str,
    seed: int,
    *,
    space: Mapping[str, Range],
    population: Annotated[int, Field(ge=4)] | None = None,
) -> BaseSampler:
    """Covariance matrix adaptation: for ranges of numbers that hang together, and a hundred trials or more.

    Choices and paths with a condition are drawn at random. It goes by one metric, knows no
    constraints, and learns nothing from trials that early stopping has ended.

    Args:
        metric: What is judged by.
        mode: Which way it is better.
        seed: Same seed and same results told, same proposals.
        space: What is searched.
        population: Trials of a generation; null: 4 + 3 ln(number of paths).

    Source:
        Hansen, "The CMA Evolution Strategy: A Tutorial", 2016.
    """
    from nnray.runners.sweep.cmaes import SteadyCmaEs

    return SteadyCmaEs(space, seed=seed % _SEEDS, popsize=population)


def nsga2(metric: str, mode: str, seed: int, *, population: Annotated[int, Field(ge=2)] = 10) -> BaseSampler:
    """Genetic algorithm for several objectives: crosses the trials that no other one beats in everything.

    Constraints are taken into account. Paths with a condition are drawn at random. It learns
    nothing from trials that early stopping has ended.

    Args:
        metric: What is judged by.
        mode: Which way it is better.
        seed: Same seed and same results told, same proposals.
        population: Trials of a generation, the first of which is at random.

    Source:
        Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", 2002.
    """
    from optuna.samplers import NSGAIISampler

    return NSGAIISampler(seed=seed % _SEEDS, population_size=population)


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


def grid(
    metric: str, mode: str, seed: int, *, space: Mapping[str, Range], points: PositiveInt = 5
) -> BaseSampler:
    """Every combination of values once, in a random order.

    A choice gives all its values, a range with a step all its steps.

    Args:
        metric: What is judged by.
        mode: Which way it is better.
        seed: Same seed, same order.
        space: What is searched.
        points: Values of a range without steps, evenly from end to end.

    Raises:
        ConfigError: There are more than 10,000 points.
    """
    from nnray.runners.sweep.grid import Points

    return Points(space, points=points, seed=seed)
