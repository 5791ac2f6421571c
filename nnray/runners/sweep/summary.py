"""What a sweep taught: the best configuration, what mattered, and where to search next."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from nnray.config import Experiment, Range
from nnray.runners.sweep.ledger import Ledger, Trial
from nnray.runners.sweep.study import Study
from nnray.runners.sweep.table import number

_EDGE = 0.02
"""A point so near to an end of its range, as a share of the range, touches it."""
_FEWEST = 8
"""Fewer trials say nothing on importance."""
_TOP = 4
"""The trials that importance is measured by are the best tenth, but no fewer than this."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What stopping early saved.

    Args:
        epochs: Epochs not trained.
        of: Epochs that all trials would have taken.
    """

    epochs: int
    of: int

    @property
    def percent(self) -> float:
        """The share saved."""
        return 100 * self.epochs / self.of if self.of else 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """What a sweep taught.

    Args:
        metric: What was searched for.
        best: The best trial.
        counts: Trials by state.
        importance: Dotted path to its share of what made trials good; empty with too few trials.
        edges: Ranges whose edge the best point touches, in words.
        saved: What stopping early saved.
        failures: Reasons of failed trials, and how many failed of each.
    """

    metric: str
    best: Trial
    counts: Mapping[str, int]
    importance: Mapping[str, float] = field(default_factory=dict)
    edges: tuple[str, ...] = ()
    saved: Saved = Saved(0, 0)
    failures: Mapping[str, int] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """In words, for a terminal."""
        total = sum(self.counts.values())
        states = ", ".join(f"{count} {state}" for state, count in self.counts.items())
        yield f"{total} trials: {states}"
        best = self.best
        yield f"best        trial {best.number}, {self.metric} {best.value:.4f} at epoch {best.chosen}"
        for path, value in best.params.items():
            yield f"            {path} = {number(value)}"
        if self.importance:
            shares = ", ".join(f"{path} {share:.0%}" for path, share in self.importance.items())
            yield f"importance  {shares}"
        for edge in self.edges:
            yield f"edge        {edge}"
        if self.saved.epochs:
            yield (
                f"saved       {self.saved.epochs} of {self.saved.of} epochs "
                f"({self.saved.percent:.0f} %) by stopping early"
            )
        for reason, count in self.failures.items():
            yield f"failed      {count} x {reason}"


def summarize(experiment: Experiment, ledger: Ledger, *, study: Study, best: Trial) -> Summary:
    """Look back on a sweep that has a best trial."""
    config = experiment.sweep
    assert config is not None
    return Summary(
        metric=config.metric,
        best=best,
        counts=ledger.counts,
        importance=importance(study.with_pruned()),
        edges=tuple(edges(config.space, best.params)),
        saved=saved(experiment.training.epochs, ledger),
        failures=failures(ledger),
    )


def importance(study: optuna.Study) -> dict[str, float]:
    """The share of each parameter in what sets the best trials apart, largest first.

    Trials that were stopped early count with the best value they had: with early stopping on, the
    bad ones are among them, and without them there would be nothing to tell the good ones from.

    Source:
        Watanabe et al., "PED-ANOVA", 2023.
    """
    trials = study.get_trials(deepcopy=False)
    if len(trials) < _FEWEST or len({trial.value for trial in trials}) < 2:
        return {}
    quantile = max(0.1, _TOP / len(trials))
    try:
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(target_quantile=quantile))
    except (ValueError, RuntimeError):
        return {}
    return {path: share for path, share in found.items() if math.isfinite(share)}


def edges(space: Mapping[str, Range], params: Mapping[str, Any]) -> Iterator[str]:
    """The ranges at whose edge a point lies, in words."""
    for path, range_ in space.items():
        if range_.choice is not None:
            continue
        place = _place(range_, float(params[path]))
        if not _EDGE < place < 1 - _EDGE:
            end, side = (range_.high, "upper") if place > 0.5 else (range_.low, "lower")
            yield f"{path} = {number(params[path])} is at the {side} end of its range ({end:g}): widen it"


def saved(epochs: int, ledger: Ledger) -> Saved:
    """What stopping early saved, over the trials that went well as far as they went."""
    trials = [trial for trial in ledger.trials.values() if trial.state in ("finished", "pruned")]
    planned = [int(trial.params.get("training.epochs", epochs)) for trial in trials]
    return Saved(sum(planned) - sum(trial.epoch for trial in trials), sum(planned))


def failures(ledger: Ledger) -> dict[str, int]:
    """Reasons of failed trials, the most frequent first."""
    found: dict[str, int] = {}
    for trial in ledger.trials.values():
        if trial.state == "failed":
            found[trial.reason] = found.get(trial.reason, 0) + 1
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _place(range_: Range, value: float) -> float:
    """Where a value lies in its range, from 0 to 1, as the range is searched."""
    low, high = range_.ends
    if range_.is_log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)
