"""A run's account from its folder; what only the store has, such as versions and files, comes from there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, get_args

from nnray.config import Experiment
from nnray.durable import read_json_lines
from nnray.errors import NnrayError
from nnray.runners import folder as folders
from nnray.runners.folder import EXHIBITS, RunFolder
from nnray.runners.origins import search_modules
from nnray.runners.report.account import Account, Point, State
from nnray.tracking.archive import Archive, ArchivedRun

_HISTORY, _JOURNAL, _CONFIG = "history.jsonl", "journal.jsonl", "config.yaml"
_READ = 16 * 2**20
"""Bytes: larger files are nothing for a page."""


def of_folder(run: RunFolder) -> Account:
    """Read a run's folder, and ask its store for the rest."""
    record, result = run.record, run.result or {}
    search_modules(record.get("search", []))
    notes: list[str] = []
    experiment = _experiment(run, notes)
    lines = list(read_json_lines(run.path / _HISTORY))
    archived, files = _from_store(record, run.name, notes)
    state = _state(run)
    return Account(
        name=run.name,
        verb=record["verb"],
        state=state,
        error=str(record.get("error", "")) if state == "failed" else "",
        began_s=float(record["created"]),
        seconds=float(result.get("seconds", record.get("seconds", 0.0))),
        run_id=result.get("run_id") or (archived.run_id if archived else ""),
        tracking_uri=record.get("tracking_uri", ""),
        folder=run.path,
        experiment=experiment,
        config=(run.path / _CONFIG).read_text(encoding="utf-8"),
        result=result,
        history=series(lines),
        failures=[{"round": line["round"], **f} for line in lines for f in line.get("failures", ())],
        faults=result.get("faults", record.get("faults", [])),
        ledger=_ledger(run, experiment),
        tags=archived.tags if archived else {},
        data=archived.data if archived else {},
        found=found_later(archived.metrics if archived else {}),
        files={**files, **dict(_own_files(run.path))},
        notes=notes,
    )


def series(lines: Iterable[Mapping[str, Any]]) -> dict[str, list[Point]]:
    """Metrics by epoch or round; of one that was done again the later line counts."""
    last = {
        int(line.get("epoch", line.get("round", 0))): line["metrics"] for line in lines if "metrics" in line
    }
    found: dict[str, list[Point]] = {}
    for step in sorted(last):
        for name, value in last[step].items():
            found.setdefault(name, []).append((step, float(value)))
    return found


def found_later(metrics: Mapping[str, float]) -> dict[str, float]:
    """What other verbs have recorded in a run."""
    return {name: value for name, value in metrics.items() if "." in name and "/" not in name}


def store_files(archive: Archive, run_id: str) -> dict[str, Callable[[], bytes]]:
    """The files that were recorded with a run."""
    return {path: partial(archive.read, run_id, path) for path in archive.files(run_id)}


def _state(run: RunFolder) -> State:
    state = folders.state(run.path)
    if state != "resumable":
        return state
    status = run.record["status"]
    return status if status in get_args(State) else "interrupted"


def _experiment(run: RunFolder, notes: list[str]) -> Experiment | None:
    try:
        return run.experiment
    except NnrayError as error:
        notes.append(f"its experiment can't be read any more: {error}")
        return None


def _from_store(
    record: Mapping[str, Any], key: str, notes: list[str]
) -> tuple[ArchivedRun | None, dict[str, Callable[[], bytes]]]:
    if not record.get("tracking_uri"):
        return None, {}
    try:
        archive = Archive(record["tracking_uri"])
        archived = archive.run(key)
        return archived, store_files(archive, archived.run_id)
    except NnrayError as error:
        notes.append(f"versions, machine, data and findings are in the tracking store alone: {error}")
        return None, {}


def _own_files(folder: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """What the task shows, and what later verbs have left; the newest of each verb, as the store has it."""
    for below in [folder / EXHIBITS, *sorted(path for path in folder.glob("*-*-*-*") if path.is_dir())]:
        verb = below.name.split("-")[0]
        for path in sorted(below.rglob("*")):
            if path.is_file() and path.stat().st_size <= _READ:
                yield f"{verb}/{path.relative_to(below).as_posix()}", path.read_bytes


def _ledger(run: RunFolder, experiment: Experiment | None) -> Any:
    if run.record["verb"] != "sweep" or experiment is None or experiment.sweep is None:
        return None
    from nnray.runners.sweep.goal import Goal
    from nnray.runners.sweep.journal import Journal
    from nnray.runners.sweep.parts import make_ledger

    return make_ledger(Goal.of(experiment.sweep), Journal(run.path / _JOURNAL).events())
