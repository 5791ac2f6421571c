"""What the trials of a sweep tell: which parameters mattered, where to search next, what went wrong."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from nnray.config import Range
from nnray.runners.sweep.ledger import Ledger, Trial
from nnray.runners.sweep.words import number

COMPLETE = (optuna.trial.TrialState.COMPLETE,)
FEWEST = 8
"""Fewer trials say nothing on importance."""
_TOP = 4
"""The trials that importance is measured by are the best tenth, but no fewer than this."""
_EDGE = 0.02
"""A point so near to an end of its range, as a share of the range, touches it."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What stopping early saved.

    Args:
        epochs: Epochs not trained.
        of: Epochs that all trials would have taken.
    """

    epochs: int = 0
    of: int = 0

    @property
    def percent(self) -> float:
        """The share saved."""
        return 100 * self.epochs / self.of if self.of else 0.0


def importance(study: optuna.Study) -> dict[str, float]:
    """The share of each parameter in what sets the best trials apart, largest first.

    Trials that were stopped early count with the best value they had: with early stopping on, the
    bad ones are among them, and without them there would be nothing to tell the good ones from.

    Source:
        Watanabe et al., "PED-ANOVA", 2023.
    """
    trials = study.get_trials(deepcopy=False, states=COMPLETE)
    if len(trials) < FEWEST or len({trial.value for trial in trials}) < 2:
        return {}
    with warnings.catch_warnings():
        # It warns of parameters that only two trials have: their share is then small, as it should be.
        warnings.simplefilter("ignore")
        try:
            found = get_param_importances(study, evaluator=evaluator(len(trials)))
        except (ValueError, RuntimeError):
            return {}
    return {path: share for path, share in found.items() if math.isfinite(share)}


def evaluator(trials: int) -> PedAnovaImportanceEvaluator:
    """Measures importance among so many trials."""
    return PedAnovaImportanceEvaluator(target_quantile=max(0.1, _TOP / max(trials, _TOP + 1)))


def edges(space: Mapping[str, Range], params: Mapping[str, Any]) -> Iterator[str]:
    """The ranges at whose edge a point lies, in words."""
    for path, range_ in space.items():
        if range_.choice is not None or path not in params:
            continue
        place = _place(range_, float(params[path]))
        if not _EDGE < place < 1 - _EDGE:
            end, side = (range_.high, "upper") if place > 0.5 else (range_.low, "lower")
            yield f"{path} = {number(params[path])} is at the {side} end of its range ({end:g}): widen it"


def saved(epochs: int, ledger: Ledger, *, resource: str) -> Saved:
    """What stopping early saved, over the trials that went well as far as they went.

    Args:
        epochs: Of a trial that doesn't search for how many.
        ledger: Of the sweep.
        resource: The path by which trials would search for it.
    """
    trials = [trial for trial in ledger.trials.values() if trial.state in ("finished", "pruned")]
    planned = [int(trial.params.get(resource, epochs)) for trial in trials]
    return Saved(sum(planned) - sum(trial.epoch for trial in trials), sum(planned))


def judged(ledger: Ledger) -> list[Trial]:
    """Trials that were held against the constraints; a failed one says nothing on them."""
    return [trial for trial in ledger.trials.values() if trial.violations and trial.state != "failed"]


def broken(ledger: Ledger) -> dict[str, int]:
    """How many trials broke each constraint, as far as they got."""
    trials = judged(ledger)
    texts = dict.fromkeys(text for trial in trials for text in trial.violations)
    return {text: sum(trial.violations.get(text, 0.0) > 0 for trial in trials) for text in texts}


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
