"""Who may be a member: the best trials of a sweep, or models that are named."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn

from nnray.assembly import load_data
from nnray.assembly.described import About, about
from nnray.config import Experiment, flatten, with_overrides
from nnray.data.splits import DataInfo, DataSplits
from nnray.errors import DataError, IncompatibleModel, RunError
from nnray.runners import folder as folders
from nnray.runners.folder import RunFolder
from nnray.runners.origins import Origin, search_modules
from nnray.runners.subject import open_subject
from nnray.runners.sweep.goal import Goal
from nnray.runners.sweep.journal import Journal
from nnray.runners.sweep.ledger import Ledger, Trial
from nnray.runners.sweep.models import model_file, restore
from nnray.runners.sweep.trial import data_key
from nnray.training.weights import weights_sha256

_JOURNAL = "journal.jsonl"


@dataclass(frozen=True, slots=True)
class Member:
    """A trained model that may become part of an ensemble.

    Args:
        name: For people.
        module: On the CPU, in evaluation mode.
        described: What it takes to build it again.
        experiment: That it was trained by.
        info: Of the data that it was trained on.
        origin: Of the sweep that it is a trial of, or its own.
        state: How it ended, where it is a trial of a sweep.
    """

    name: str
    module: nn.Module
    described: About
    experiment: Experiment
    info: DataInfo
    origin: Origin
    state: str = ""

    def to_dict(self) -> dict[str, Any]:
        """What is recorded of it."""
        return {"name": self.name, "sha256": weights_sha256(self.module), "data": self.info.digest}


class Data:
    """The splits that members were trained on; members with the same data share them."""

    def __init__(self) -> None:
        self._splits: dict[str, DataSplits] = {}

    def of(self, experiment: Experiment) -> DataSplits:
        """An experiment's data; its test split isn't read."""
        key = data_key(experiment)
        if key not in self._splits:
            self._splits[key] = load_data(experiment)
        return self._splits[key]

    def of_member(self, member: Member) -> DataSplits:
        """A member's data.

        Raises:
            DataError: They have changed since it was trained.
        """
        splits = self.of(member.experiment)
        if member.info.digest and splits.info.digest != member.info.digest:
            raise DataError(
                f"{splits.info.name}: other examples than those that {member.name} was trained on (SHA-256 "
                f"{splits.info.digest[:12]}, then {member.info.digest[:12]}): what was held back is not known"
            )
        return splits


def find_members(
    references: Sequence[str], *, top: int | None, data: Data, root: Path, tracking: str | None, trust: bool
) -> list[Member]:
    """The members that are named: each model, and the best trials of each sweep.

    Args:
        references: As for ``open_subject``; a sweep's folder or id stands for its trials.
        top: Of each sweep, so many trials that came to their end; None for all that have a model.
        data: Where their data are kept.
        root: The folder of the runs' folders.
        tracking: The store.
        trust: Open also what runs code of whoever made it.

    Raises:
        RunError: There is no such model.
        IncompatibleModel: They don't tell the same classes apart.
    """
    found = list[Member]()
    for reference in references:
        run = _sweep(reference, root)
        if run is not None:
            found += of_sweep(run, top=top, data=data, prefix=f"{run.name} " if len(references) > 1 else "")
        else:
            found.append(_of_model(reference, root=root, tracking=tracking, trust=trust))
    require_same_task(found)
    return found


def of_sweep(run: RunFolder, *, top: int | None, data: Data, prefix: str = "") -> list[Member]:
    """The best trials of a sweep, best first.

    Args:
        run: Of the sweep.
        top: How many of those that came to their end; None for all that have a model.
        data: Where their data are kept.
        prefix: Of their names.

    Raises:
        RunError: It has not ended, or no trial's model is there.
    """
    result = run.result
    if result is None:
        raise RunError(f"{run.name} has not ended: `nnray resume {run.name}` goes on with it")
    search_modules(run.record.get("search", []))
    experiment = run.experiment
    origin = Origin(
        tracking_uri=run.record.get("tracking_uri", result["tracking_uri"]),
        run_id=result["run_id"],
        run=run.name,
        mlflow_experiment=experiment.tracking.experiment or experiment.name,
        folder=run.path,
    )
    chosen = best(eligible(run), top)
    if not chosen:
        raise RunError(f"{run.name}: no trial has a model below {run.path / 'trials'}; begin the sweep again")
    return [
        replace(_of_trial(run, trial, experiment, data=data, origin=origin), name=f"{prefix}{_name(trial)}")
        for trial in chosen
    ]


def best(trials: Sequence[Trial], top: int | None) -> list[Trial]:
    """The first so many that came to their end; None for all.

    A trial that was stopped early was stopped because it was behind: in a mean it counts as much as
    the best one. It is taken only where there would not be two members without it.
    """
    if top is None:
        return list(trials)
    finished = [trial for trial in trials if trial.state == "finished"]
    return finished[:top] if len(finished) > 1 else list(trials[: min(top, 2)])


def eligible(run: RunFolder) -> list[Trial]:
    """The trials of a sweep that have a model, best first.

    A trial stopped early is judged by fewer epochs, so it comes after all that ended; one that breaks a
    constraint is left out.
    """
    config = run.experiment.sweep
    assert config is not None
    goal = Goal.of(config)
    events = Journal(run.path / _JOURNAL).events()
    ranked = Ledger(goal.mode, objectives=goal.objectives, constraints=goal.constraints, events=events).ranked
    usable = [
        trial
        for trial in ranked
        if trial.is_feasible
        and trial.state != "failed"
        and not math.isnan(trial.value)
        and model_file(run.path, trial.number).exists()
    ]
    return sorted(usable, key=lambda trial: trial.state != "finished")


def shortfalls(members: Sequence[Member], top: int | None) -> Iterator[str]:
    """What a person should know where a sweep has fewer trials to give than were asked for."""
    trials = [member for member in members if member.state]
    for sweep in dict.fromkeys(member.origin.run for member in trials):
        own = [member for member in trials if member.origin.run == sweep]
        stopped = [member.name for member in own if member.state != "finished"]
        if top is not None and stopped:
            yield f"{sweep}: fewer than two trials came to their end, so {', '.join(stopped)} is taken"
        elif top is not None and len(own) < top:
            yield (
                f"{sweep}: {len(own)} trials came to their end; those stopped early are behind, and are left "
                "to select and soup, which choose among all"
            )


def require_same_task(members: Sequence[Member]) -> None:
    """Check that all take the same inputs and tell the same classes apart.

    Raises:
        IncompatibleModel: They don't; lists all that differ from the first.
    """
    first = members[0]
    found = [
        f"{member.name} ({member.info.name}): {difference}; {first.name} ({first.info.name}): {expected}"
        for member in members[1:]
        for difference, expected in _differences(member.info, first.info)
    ]
    if found:
        raise IncompatibleModel("an ensemble", found, "Take members that were trained for the same task.")


def different_settings(members: Sequence[Member]) -> Iterator[str]:
    """How networks differ from the first's, but for dropout, which a trained network computes without."""
    first = _network(members[0])
    for member in members[1:]:
        network = _network(member)
        for path in sorted(first.keys() | network.keys()):
            if first.get(path) != network.get(path):
                yield f"{member.name} has {path} {network.get(path)}, {members[0].name} {first.get(path)}"


def _network(member: Member) -> Mapping[str, Any]:
    settings = {
        path: value
        for path, value in flatten(member.experiment).items()
        if path.startswith("model.") and "dropout" not in path
    }
    return settings | {"recipe": member.described.get("recipe", []), "members": "members" in member.described}


def _differences(info: DataInfo, first: DataInfo) -> Iterator[tuple[str, str]]:
    if info.input_shape != first.input_shape:
        yield f"takes inputs of shape {list(info.input_shape)}", f"of shape {list(first.input_shape)}"
    if info.classes != first.classes:
        yield f"predicts {_listed(info.classes)}", _listed(first.classes)
    if info.missing != first.missing:
        yield f"{_may(info)} missing values", f"{_may(first)} them"


def _may(info: DataInfo) -> str:
    return "takes" if info.missing else "does not take"


def _listed(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")
    return f"{len(classes)} classes: {shown}"


def _sweep(reference: str, root: Path) -> RunFolder | None:
    """The sweep that is named; None where it is anything else, a trial's id among them."""
    try:
        run = folders.find(reference, root=root)
    except RunError:
        return None
    is_itself = reference in (run.name, str(run.path), (run.result or {}).get("run_id"))
    is_path = Path(reference).absolute() == run.path
    return run if run.record["verb"] == "sweep" and (is_itself or is_path) else None


def _of_trial(run: RunFolder, trial: Trial, experiment: Experiment, *, data: Data, origin: Origin) -> Member:
    own = with_overrides(experiment, trial.params)
    splits, path = data.of(own), model_file(run.path, trial.number)
    try:
        module = restore(own, splits, data=path.read_bytes())
    except (SafetensorError, RuntimeError) as error:
        raise RunError(f"the model of trial {trial.number} can't be read from {path}: {error}") from error
    return Member(_name(trial), module, about(own, splits.info), own, splits.info, origin, trial.state)


def _name(trial: Trial) -> str:
    return f"trial {trial.number}" + ("" if trial.state == "finished" else f" ({trial.state})")


def _of_model(reference: str, *, root: Path, tracking: str | None, trust: bool) -> Member:
    subject = open_subject(reference, root=root, tracking=tracking, trust=trust)
    return Member(
        name=reference,
        module=subject.module,
        described=subject.about,
        experiment=subject.experiment,
        info=subject.info,
        origin=subject.origin,
    )
