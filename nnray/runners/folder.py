"""The folder of a run: what was asked for, where it stands, and all that resuming needs.

runs/digits-train-20260102-030405-ab12/
    run.json        verb, status, MLflow run
    lease.json      renewed by the process that is at it
    config.yaml     the experiment, every default written out
    history.jsonl   a line an epoch, with the time it was emitted
    checkpoints/
    result.json     once it has ended well
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nnray.config import Experiment, dump, load
from nnray.durable import write_bytes, write_json
from nnray.errors import NnrayError, RunError
from nnray.runners import lease

EXHIBITS = "exhibits"
"""Folder of what the task shows, in a run's."""
_RECORD, _CONFIG, _RESULT, _LOCK = "run.json", "config.yaml", "result.json", "lock"

_ID = re.compile(r"[0-9a-f]{32}")
"""Of a run in MLflow."""

State = Literal["running", "lost", "resumable", "ended"]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run's folder.

    Args:
        path: Absolute.
    """

    path: Path

    @property
    def name(self) -> str:
        """The run's name: unique, and sorts by time within an experiment."""
        return self.path.name

    @property
    def record(self) -> dict[str, Any]:
        """What ``run.json`` says: verb, status, store, ..."""
        record: dict[str, Any] = json.loads((self.path / _RECORD).read_text())
        return record

    @property
    def experiment(self) -> Experiment:
        """The experiment as it was resolved when the run began."""
        return load(self.path / _CONFIG)

    @property
    def result(self) -> dict[str, Any] | None:
        """What the run came to; None until it has ended well."""
        path = self.path / _RESULT
        return json.loads(path.read_text()) if path.exists() else None

    def update(self, **fields: Any) -> None:
        """Set fields of ``run.json``."""
        write_json(self.path / _RECORD, self.record | fields)

    def note_fault(self, text: str) -> None:
        """Write down what has happened to a worker on the way, with the time."""
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        self.update(faults=[*self.record.get("faults", []), f"{now} {text}"])

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result, then say that the run has ended."""
        write_json(self.path / _RESULT, result)
        self.update(status="finished")

    def reconfigure(self, experiment: Experiment) -> None:
        """Have a run that has not ended go on in another way, such as with more workers.

        Raises:
            RunError: Another process is at it.
        """
        with self.held():
            write_bytes(self.path / _CONFIG, dump(experiment).encode())

    def reopen(self, experiment: Experiment) -> None:
        """Have a run go on with more than it was begun with, even if it has ended.

        Whatever was decided at its end, its test included, is decided anew.
        """
        write_bytes(self.path / _CONFIG, dump(experiment).encode())
        record = {key: value for key, value in self.record.items() if key not in ("test", "test_time_ms")}
        looks = int(record.get("looks", 0)) + ("test" in self.record)
        write_json(self.path / _RECORD, record | {"status": "interrupted", "looks": looks})
        (self.path / _RESULT).unlink(missing_ok=True)

    @property
    def is_locked(self) -> bool:
        """Whether a process of this machine, or of any that shares the file system's locks, is at it."""
        try:
            with (self.path / _LOCK).open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # nobody was ever at it, or it is another user's
            return False
        return False

    @contextmanager
    def discarded_unless_begun(self) -> Iterator[None]:
        """Remove the folder if the block fails before anything was recorded of the run."""
        try:
            yield
        except NnrayError:
            if "tracking_uri" not in self.record:
                shutil.rmtree(self.path, ignore_errors=True)
            raise

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes off this run; a process that dies lets go of it.

        Elsewhere in a cluster, where the lock is not seen, the lease says that somebody is at it.

        Raises:
            RunError: Another process is at it.
        """
        with (self.path / _LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunError(
                    f"{self.name} is being run by another process: wait for it, or stop it"
                ) from error
            if (other := lease.holder(self.path)) and self._is_elsewhere(other):
                raise RunError(
                    f"{self.name} is being run by process {other['pid']} on {other['host']}: wait for it, or "
                    f"stop it; if that machine is gone, try again in {lease.EXPIRY_S:g} s"
                )
            with lease.Lease(self.path):
                yield

    def _is_elsewhere(self, other: dict[str, Any]) -> bool:
        """Whether a lease is of a living process on another machine; on this one the lock says all."""
        return other["host"] != socket.gethostname() and lease.is_held(self.path)


def state(path: Path) -> State:
    """Where a run stands, whatever any job table says.

    Args:
        path: Of its folder.

    Returns:
        ``running``: a process is at it. ``lost``: its process is gone without a word, killed or out of
        reach. ``resumable``: it was interrupted or has failed, in order. ``ended``: it has a result.
        Lost and resumable ones go on with ``nnray resume``.
    """
    run = RunFolder(path)
    if run.result is not None:
        return "ended"
    if lease.is_held(path) or run.is_locked:
        return "running"
    return "lost" if run.record["status"] == "running" else "resumable"


def create(
    experiment: Experiment,
    verb: str,
    *,
    search: Sequence[str] = (),
    files: Mapping[str, Mapping[str, Any]] | None = None,
) -> RunFolder:
    """Make the folder of a new run, whole or not at all.

    Args:
        experiment: What it will run.
        verb: ``train`` or ``sweep``.
        search: Folders in which the experiment's own modules are found.
        files: JSON files that the run needs from its start, by name.

    Raises:
        RunError: The folder ``tracking.dir`` can't be written.
    """
    root = Path(experiment.tracking.dir).absolute()
    name = f"{experiment.name}-{verb}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    aside = root / f".{name}.tmp"
    record = {
        "version": 1,
        "verb": verb,
        "status": "running",
        "created": time.time(),
        "search": list(search),
    }
    try:
        aside.mkdir(parents=True)
        write_bytes(aside / _CONFIG, dump(experiment).encode())
        write_json(aside / _RECORD, record)
        for file, value in (files or {}).items():
            write_json(aside / file, value)
        lease.renew(aside)  # until the run is held, a moment later
        aside.rename(root / name)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise RunError(
            f"can't make a folder for this run in {root}: {os.strerror(error.errno or 0)}: "
            "set tracking.dir to a folder that you may write to"
        ) from error
    return RunFolder(root / name)


def find(reference: str, *, root: Path) -> RunFolder:
    """The run with that MLflow run id, folder name or path; of a trial's id, the sweep that it is of.

    Raises:
        RunError: There is none.
    """
    for path in (Path(reference), root / reference):
        if (path / _RECORD).is_file():
            return RunFolder(path.absolute())
    if (found := _by_id(reference, root)) is not None:
        return found
    known = ", ".join(run.name for run in list(runs(root))[:5]) or "none"
    raise RunError(f"no run {reference!r} in {root.absolute()}: the newest there: {known}")


def _by_id(run_id: str, root: Path) -> RunFolder | None:
    if not _ID.fullmatch(run_id):
        return None
    stores = dict[str, None]()
    for run in runs(root):
        if (run.result or {}).get("run_id") == run_id:
            return run
        stores[run.record.get("tracking_uri", "")] = None
    from nnray.tracking.lookup import key_of  # asks the stores, which takes seconds

    keys = (key_of(uri, run_id) for uri in stores if uri)
    names = (key.partition("/")[0] for key in keys if key)
    return next((RunFolder((root / name).absolute()) for name in names if (root / name).is_dir()), None)


def last(root: Path) -> RunFolder:
    """The run that was begun last.

    Raises:
        RunError: There is none.
    """
    newest = next(runs(root), None)
    if newest is None:
        raise RunError(f"no run in {root.absolute()}: start one with `nnray train FILE`, or name its folder")
    return newest


def runs(root: Path) -> Iterator[RunFolder]:
    """The runs in a folder, newest first."""
    found = [RunFolder(path.parent.absolute()) for path in root.glob(f"[!.]*/{_RECORD}")]
    yield from sorted(found, key=lambda run: float(run.record["created"]), reverse=True)
