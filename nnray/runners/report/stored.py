"""A run's account from the store alone: its folder is gone, or was on another machine."""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnray.config import Experiment, Range, load
from nnray.errors import NnrayError
from nnray.metrics import better
from nnray.runners.report.account import Account, Point, State
from nnray.runners.report.local import found_later, store_files
from nnray.tracking.archive import Archive, ArchivedRun, Measured
from nnray.tracking.stored import StoredModel, find_stored

if TYPE_CHECKING:
    from nnray.runners.sweep.goal import Goal
    from nnray.runners.sweep.journal import Event
    from nnray.runners.sweep.ledger import Ledger

_STATES: Mapping[str, State] = {"FINISHED": "ended", "FAILED": "failed", "KILLED": "interrupted"}
_TRIAL_STATES = {"FINISHED": "finished", "FAILED": "failed", "KILLED": "interrupted"}
_GONE = "the run's folder is not here: this is what the tracking store has"


def of_store(archive: Archive, run: ArchivedRun) -> Account:
    """Read a run from its store."""
    verb, notes = run.tags.get("nnray.verb", "train"), [_whereabouts(run)]
    files = store_files(archive, run.run_id)
    config = files["config.yaml"]().decode("utf-8", "replace") if "config.yaml" in files else ""
    experiment = _experiment(config, notes)
    own = [name for name in run.metrics if name not in found_later(run.metrics) and "/" not in name]
    history = {name: _points(archive.history(run.run_id, name)) for name in own}
    model = _model(archive, run)
    return Account(
        name=run.name,
        verb=verb,
        state=_STATES.get(run.status, "running"),
        error=run.tags.get("nnray.error", ""),
        began_s=run.start_ms / 1000,
        seconds=max(0, run.end_ms - run.start_ms) / 1000,
        run_id=run.run_id,
        tracking_uri=archive.uri,
        experiment=experiment,
        config=config,
        result=_result(run, history, model),
        history={name: points for name, points in history.items() if not _is_final(name, verb)},
        faults=run.tags.get("nnray.faults", "").splitlines(),
        ledger=_ledger(archive, run, experiment) if verb == "sweep" else None,
        tags=run.tags,
        data=run.data,
        found=found_later(run.metrics),
        files=files,
        notes=notes,
    )


def _whereabouts(run: ArchivedRun) -> str:
    whole, part_of, _ = run.key.partition("/")
    return f"a part of {whole}, which has a page of its own: `nnray report {whole}`" if part_of else _GONE


def _is_final(name: str, verb: str) -> bool:
    """Whether a metric is of the end, not of an epoch."""
    return verb != "federate" and name.startswith("test_")


def _points(values: Sequence[Measured]) -> list[Point]:
    return [(each.step, each.value) for each in values]


def _experiment(config: str, notes: list[str]) -> Experiment | None:
    with tempfile.TemporaryDirectory(prefix="nnray-") as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(config, encoding="utf-8")
        try:
            return load(path)
        except NnrayError as error:
            notes.append(f"its experiment can't be read any more: {error}")
            return None


def _model(archive: Archive, run: ArchivedRun) -> StoredModel | None:
    try:
        return find_stored(run.run_id, uri=archive.uri)
    except NnrayError:  # a sweep's is of one of its trials; or it has none yet
        return None


def _result(
    run: ArchivedRun, history: Mapping[str, Sequence[Point]], model: StoredModel | None
) -> dict[str, Any]:
    """What it came to: the metrics of the epoch that its model is of, else the last ones."""
    step = model.step if model else 0
    of_model = {name: dict(points).get(step) for name, points in history.items()}
    found = {name: run.metrics[name] if (value := of_model[name]) is None else value for name in history}
    result: dict[str, Any] = {"metrics": found, "run_id": run.run_id}
    if model is not None:
        result |= {"model_uri": model.model_uri, "model_sha256": model.sha256, "epoch": step}
    if champion := run.tags.get("nnray.champion"):
        result["champion"] = champion
    return result


def _ledger(archive: Archive, run: ArchivedRun, experiment: Experiment | None) -> Ledger | None:
    """The trials as the store's nested runs tell them."""
    if experiment is None or experiment.sweep is None:
        return None
    from nnray.runners.sweep.goal import Goal
    from nnray.runners.sweep.parts import make_ledger

    goal = Goal.of(experiment.sweep)
    trials = [child for child in archive.children(run.run_id) if "nnray.trial" in child.tags]
    last = experiment.training.select == "last"
    events = [e for t in trials for e in _events(archive, t, goal, experiment.sweep.space, last=last)]
    return make_ledger(goal, events)


def _events(
    archive: Archive, run: ArchivedRun, goal: Goal, space: Mapping[str, Range], *, last: bool
) -> Iterator[Event]:
    """What happened to a trial, as far as its run tells; its model is of the best epoch, or of the last."""
    from nnray.runners.sweep.journal import Ended, Proposed, Reported, Started

    number, needed, prefix = int(run.tags["nnray.trial"]), goal.needed, "trial."
    params = {
        key.removeprefix(prefix): _value(text, space.get(key.removeprefix(prefix)))
        for key, text in run.params.items()
        if key.startswith(prefix)
    }
    yield Proposed(number, params, run.key, time_ms=run.start_ms)
    yield Started(number, time_ms=run.start_ms)
    histories = {
        name: {m.step: m for m in archive.history(run.run_id, name)} for name in needed if name in run.metrics
    }
    best: float | None = None
    for epoch, measured in histories.get(needed[0], {}).items():
        chosen = last or best is None or better(goal.mode, measured.value, best)
        best = measured.value if chosen else best
        metrics = {name: values[epoch].value for name, values in histories.items() if epoch in values}
        yield Reported(number, epoch, measured.value, metrics, chosen, time_ms=measured.time_ms)
    if run.end_ms:
        state: Any = run.tags.get("nnray.state", _TRIAL_STATES.get(run.status, "interrupted"))
        yield Ended(number, state, run.tags.get("nnray.reason", ""), time_ms=run.end_ms)


def _value(text: str, range_: Range | None) -> Any:
    """A value that stands as text in the store."""
    for choice in (range_.choice or ()) if range_ else ():
        if str(choice) == text:
            return choice
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
