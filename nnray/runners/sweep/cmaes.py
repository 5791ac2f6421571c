"""Optuna's CMA-ES over the same dimensions in every trial, whatever paths the earlier trials had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import CmaEsSampler
from optuna.trial import FrozenTrial

from nnray.config import Range
from nnray.runners.sweep.space import distribution


class SteadyCmaEs(CmaEsSampler):
    """CMA-ES over the ranges of numbers that every trial has; Optuna's own gives up when paths come and go.

    Args:
        space: What is searched.
        options: As Optuna takes them.
    """

    def __init__(self, space: Mapping[str, Range], **options: Any) -> None:
        super().__init__(warn_independent_sampling=False, **options)
        known = {path: distribution(range_) for path, range_ in space.items() if not range_.when}
        self._dimensions = {
            path: known[path]
            for path in sorted(known)
            if not isinstance(known[path], CategoricalDistribution) and not known[path].single()
        }

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The same dimensions always."""
        return self._dimensions
