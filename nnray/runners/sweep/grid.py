"""All points of a space, each once, in an order drawn by seed: cut short, a sweep has seen all corners."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from nnray.config import Range, in_order, is_active
from nnray.errors import ConfigError, Problem
from nnray.runners.sweep.space import Space

MOST = 10_000
"""Points of a grid: more are no sweep."""


class Points(BaseSampler):
    """Takes one of the points that no trial of the study has, at random; all again once there is none.

    Args:
        space: What is searched.
        points: Values of a range that has neither choices nor steps.
        seed: Of the draw.
    """

    def __init__(self, space: Mapping[str, Range], *, points: int, seed: int) -> None:
        self._space, self._count = space, points
        self._rng = np.random.default_rng(seed)
        self._point: dict[str, Any] | None = None

    @cached_property
    def points(self) -> list[dict[str, Any]]:
        """All points, as they stand in the study.

        Raises:
            ConfigError: There are too many.
        """
        encode = Space(self._space).encode
        found = [encode(point) for point in islice(_points(self._space, self._count), MOST + 1)]
        if len(found) > MOST:
            advice = "search fewer paths, give wider steps, or take another searcher"
            raise ConfigError("sweep", [Problem("sweep.search", f"grid has over {MOST:,} points: {advice}")])
        return found

    def left(self, tried: Iterable[Mapping[str, Any]]) -> int:
        """How many points there are beside those that were tried."""
        return len(self._beside(tried))

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """None: all values of a trial come from one point."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing."""
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value of the trial's point."""
        if self._point is None:
            self._point = self._draw(study, trial)
        return self._point[param_name]

    def _draw(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        fixed = trial.system_attrs.get("fixed_params", {})
        trials = study.get_trials(deepcopy=False)
        left = self._beside(other.params for other in trials if other.number != trial.number) or self.points
        fitting = [point for point in left if fixed.items() <= point.items()] or left
        return fitting[int(self._rng.integers(len(fitting)))]

    def _beside(self, tried: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        seen = {_key(params) for params in tried}
        return [point for point in self.points if _key(point) not in seen]


def values_of(range_: Range, points: int) -> list[Any]:
    """What a grid tries of a range: all choices, all steps, else points evenly from end to end.

    Args:
        range_: What may be tried.
        points: How many where there are neither choices nor steps; integers may be fewer.
    """
    if range_.choice is not None:
        return list(range_.choice)
    low, high = range_.ends
    if range_.step is not None and range_.is_int:
        return list(range(int(low), int(high) + 1, int(range_.step)))
    if range_.step is not None:
        start, end, width = (Decimal(str(value)) for value in (low, high, range_.step))
        return [float(start + place * width) for place in range(int((end - start) // width) + 1)]
    spread = np.geomspace if range_.is_log else np.linspace
    values = [low, *spread(low, high, points).tolist()[1:-1], high][: max(points, 1)]
    return sorted({round(value) for value in values}) if range_.is_int else values


def _points(space: Mapping[str, Range], points: int) -> Iterator[dict[str, Any]]:
    """Every combination of values, without paths that are not tried beside the others."""
    order = in_order(space)
    values = {path: values_of(range_, points) for path, range_ in space.items()}

    def rest(place: int, point: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if place == len(order):
            yield point
        elif is_active(path := order[place], point, space=space):
            for value in values[path]:
                yield from rest(place + 1, {**point, path: value})
        else:
            yield from rest(place + 1, point)

    return rest(0, {})


def _key(params: Mapping[str, Any]) -> frozenset[tuple[str, Any, bool]]:
    """What two trials at one point have in common; true is no 1."""
    return frozenset((path, value, isinstance(value, bool)) for path, value in params.items())
