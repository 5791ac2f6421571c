"""Begins a sweep from what an earlier one found: its trials are known to the searcher from the start."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from nnray.config import Experiment, Range, flatten
from nnray.config.conditions import active
from nnray.errors import RunError
from nnray.runners.folder import RunFolder
from nnray.runners.sweep.goal import Goal
from nnray.runners.sweep.journal import Journal
from nnray.runners.sweep.ledger import Trial
from nnray.runners.sweep.parts import make_ledger
from nnray.runners.sweep.study import Study

WARM = "warm.json"
"""What a sweep began from, in its folder: resuming it needs the same again."""


def gather(folder: RunFolder, experiment: Experiment) -> dict[str, Any]:
    """What an earlier sweep found, as a later one can use it.

    Paths that the earlier sweep did not search have the value of its file.

    Args:
        folder: Of the earlier sweep.
        experiment: The later one.

    Raises:
        RunError: It is no sweep, or none of its trials lies in the later one's space.
    """
    assert experiment.sweep is not None
    if folder.record["verb"] != "sweep":
        raise RunError(f"{folder.name} is a {folder.record['verb']}: a sweep begins from a sweep's trials")
    goal, base = Goal.of(experiment.sweep), flatten(folder.experiment)
    ledger = make_ledger(goal, Journal(folder.path / "journal.jsonl").events())
    ended = [trial for trial in ledger.trials.values() if trial.state in ("finished", "pruned")]
    seen = list(_seen(ended, goal, space=experiment.sweep.space, base=base))
    if not seen:
        raise RunError(
            f"none of the {len(ended)} trials of {folder.name} can be used here: each must have the metrics "
            f"{', '.join(goal.needed)}, and values within sweep.space"
        )
    return {"run": folder.name, "of": len(ended), "trials": seen}


def read_warm(folder: RunFolder) -> dict[str, Any] | None:
    """What a sweep began from; None where it began from nothing."""
    path = folder.path / WARM
    return json.loads(path.read_text()) if path.exists() else None


def warm_up(study: Study, folder: RunFolder) -> None:
    """Tell a new study what its sweep began from."""
    for trial in (read_warm(folder) or {"trials": []})["trials"]:
        study.add(
            trial["params"],
            state=trial["state"],
            values=trial["values"],
            constraints=trial["constraints"],
            reported={int(epoch): value for epoch, value in trial["reported"].items()},
        )


def _seen(
    trials: list[Trial], goal: Goal, *, space: Mapping[str, Range], base: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    for trial in trials:
        known = {**base, **trial.params}
        params = active({path: known[path] for path in space if path in known}, space)
        full = active({path: known.get(path) for path in space}, space)
        values = [trial.metrics.get(goal.metric, math.nan), *trial.objectives.values()]
        fits = params.keys() == full.keys() and all(space[path].holds(params[path]) for path in params)
        if fits and all(map(math.isfinite, values)):
            yield {
                "params": params,
                "state": trial.state,
                "values": values,
                "constraints": dict(trial.violations),
                "reported": trial.values,
            }
