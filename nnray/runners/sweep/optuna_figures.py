"""Optuna's own figures for the HTML page, with axes that can be read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from optuna import Study, visualization
from optuna.trial import FrozenTrial

from nnray.config import Range
from nnray.runners.sweep.findings import COMPLETE, FEWEST, evaluator
from nnray.runners.sweep.plots import Picture
from nnray.runners.sweep.plots.canvas import NEAR, scale_of
from nnray.runners.sweep.plots.scale import Scale
from nnray.runners.sweep.words import short_names

_ROW, _MOST_RANKED = 3, 4
"""Slices side by side, and parameters that are ranked in pairs."""


@dataclass(frozen=True, slots=True)
class OptunaFigures:
    """The figures of one value of a study's trials.

    Args:
        study: Optuna's.
        picture: The same trials.
        name: Of the value.
        place: Which of a trial's values it is; None where there is only one.
    """

    study: Study
    picture: Picture
    name: str
    place: int | None = None

    def importances(self) -> Any:
        """The share of each parameter, measured as in the summary.

        Raises:
            ValueError: There are too few trials.
        """
        count = len(self._trials)
        if count < FEWEST:
            raise ValueError(f"{count} trials say nothing on importance")
        is_max = self.place is not None and self.study.directions[self.place].name == "MAXIMIZE"
        target = self._target(-1.0 if is_max else 1.0)  # it looks for the least
        return visualization.plot_param_importances(
            self.study, evaluator=evaluator(count), target=target, target_name=self.name
        )

    def slices(self, paths: Sequence[str]) -> Any:
        """The value against each of some parameters alone."""
        figure = visualization.plot_slice(
            self.study, list(paths), target=self._target(), target_name=self.name
        )
        for axis in figure.select_xaxes():
            axis.update(_as_searched(self.picture.space[axis.title.text]))
        figure.update_yaxes(exponentformat="none")
        return figure.update_layout(width=150 + 330 * len(paths), height=420, title="Slices")

    @property
    def rows(self) -> list[list[str]]:
        """Parameters of each figure of slices: all at once are too narrow."""
        paths = self._paths(list(self.picture.space))
        return [paths[start : start + _ROW] for start in range(0, len(paths), _ROW)]

    def rank(self) -> Any:
        """The rank of each trial over each pair of the most important parameters.

        Their names are short, for whole paths run into each other.

        Raises:
            ValueError: There is no pair, or nothing to rank.
        """
        paths = self._paths(self.picture.leading(_MOST_RANKED))
        if len(paths) < 2 or len(self._trials) < 2:
            raise ValueError("one parameter makes no pair, and one trial no rank")
        figure = visualization.plot_rank(self.study, paths, target=self._target(), target_name=self.name)
        count, names = 1 if len(paths) == 2 else len(paths), short_names(paths)
        for at, axis in enumerate(figure.select_xaxes()):
            axis.update(_as_searched(self.picture.space[paths[at % count]]), tickangle=30)
        for at, axis in enumerate(figure.select_yaxes()):
            axis.update(_as_searched(self.picture.space[paths[at // count if count > 1 else 1]]))
        for axis in (*figure.select_xaxes(), *figure.select_yaxes()):
            axis.title.text = names.get(axis.title.text, axis.title.text)
        return figure.update_layout(width=220 * max(2, count) + 300, height=220 * max(2, count) + 100)

    def front(self) -> Any:
        """The metric against this objective, the front in another color."""
        metric, place = self.picture.goal.metric, self.place
        assert place is not None
        figure = visualization.plot_pareto_front(
            self.study,
            target_names=[self.name, metric],
            targets=lambda trial: (trial.values[place], trial.values[0]),
        )
        found = [trial.objectives.get(self.name, math.nan) for trial in self.picture.valued]
        kind = scale_of([value for value in found if math.isfinite(value)], far=NEAR)
        figure.update_xaxes(type=kind, exponentformat="none", dtick="D2" if kind == "log" else None)
        return figure.update_layout(title=f"{metric} against {self.name}", height=500)

    def _paths(self, paths: Sequence[str]) -> list[str]:
        """Those of the paths that a trial has."""
        return [path for path in paths if any(path in trial.params for trial in self._trials)]

    @property
    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=COMPLETE)

    def _target(self, sign: float = 1.0) -> Callable[[FrozenTrial], float] | None:
        place = self.place
        return None if place is None else lambda trial: sign * float(trial.values[place])


def _as_searched(range_: Range) -> dict[str, Any]:
    """An axis over the whole range; that of a choice is left as it is."""
    if range_.choice is not None:
        return {}
    scale = Scale(range_)
    ends = [math.log10(end) if range_.is_log else end for end in range_.ends]
    margin = 0.05 * (ends[1] - ends[0])
    ticks = {"tickvals": [place for place, _ in scale.ticks], "ticktext": [text for _, text in scale.ticks]}
    return {"range": [ends[0] - margin, ends[1] + margin], **ticks}
