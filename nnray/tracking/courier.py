"""MLflow in a process of its own: importing and calling it costs the one that trains no time.

One process serves all trackers of this one, a thread for each store. A line of JSON goes out for
each entry, and one comes back; it ends with the pipe, so with this process, however that ends.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from itertools import count
from pathlib import Path
from typing import Any

from nnray.tracking.reasons import Failed
from nnray.tracking.spool import Entry
from nnray.tracking.tracker import ModelRecord
from nnray.tracking.writer import Refused

_PACKAGES = Path(__file__).parents[2]
_LOCK = threading.Lock()
_running: list[_Process] = []


class Courier:
    """Delivers entries to one MLflow store, by the process that has MLflow.

    Args:
        uri: Of the store, absolute.
        experiment: Name of the MLflow experiment.
        artifacts: Where a new experiment keeps its files; None for the store's own default.
        root: Folder below which entries name their files; None where they name them by absolute path.
    """

    def __init__(self, uri: str, experiment: str, *, artifacts: str | None, root: Path | None) -> None:
        self._address = {
            "uri": uri,
            "experiment": experiment,
            "artifacts": artifacts,
            "root": None if root is None else str(root),
        }
        self._process: _Process | None = None
        self._store = 0
        self._open()

    def __call__(self, entry: Entry, /) -> Any:
        """Deliver an entry.

        Raises:
            Refused: Trying again is of no use.
            Failed: The store did not take it, or the process has ended; it is started anew next time.
        """
        answer = self._ask({"kind": entry.kind, "run": entry.run, "body": dict(entry.body)})
        if "refused" in answer:
            raise Refused(answer["refused"])
        if "failed" in answer:
            raise Failed(answer["failed"])
        model = answer.get("model")
        return answer.get("result") if model is None else ModelRecord(**model)

    def answers(self) -> bool:
        """Whether the store answers a question that needs nothing to be there."""
        try:
            return bool(self._ask({"answers": True}).get("result"))
        except Failed:
            return False

    def close(self) -> None:
        """Have the process forget the store."""
        if self._process is not None and self._process.is_alive:
            self._process.tell({"store": self._store, "close": True})

    def _ask(self, what: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._process is None or not self._process.is_alive:
            self._open()
        assert self._process is not None
        answer: Mapping[str, Any] = self._process.ask({"store": self._store, **what}).result()
        return answer

    def _open(self) -> None:
        self._process = _process()
        self._store = self._process.new_number()
        self._process.tell({"store": self._store, "open": self._address, "environment": dict(os.environ)})


class _Process:
    """The process, and the thread that reads what it answers."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(_PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self._child = subprocess.Popen(
            [sys.executable, "-m", "nnray.tracking.delivery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": path},
            cwd="/",  # it serves stores of several working folders, which may go
            start_new_session=True,  # a terminal's Ctrl-C is not meant for it
        )
        self._pid = os.getpid()
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._waiting: dict[int, Future[Mapping[str, Any]]] = {}
        self._has_ended = False
        self._last: list[str] = []
        threading.Thread(target=self._read, name="nnray-courier", daemon=True).start()
        atexit.register(self.close)

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked; a forked process must start one of its own."""
        return not self._has_ended and self._pid == os.getpid()

    def new_number(self) -> int:
        """A number that no other request or store of this process has."""
        return next(self._numbers)

    def ask(self, message: Mapping[str, Any]) -> Future[Mapping[str, Any]]:
        """Send a message that is answered."""
        number, future = self.new_number(), Future[Mapping[str, Any]]()
        with self._lock:
            if self._has_ended:
                future.set_exception(Failed(self._why()))
                return future
            self._waiting[number] = future
        self.tell({**message, "id": number})
        return future

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a message; where the process has ended, whoever waits for an answer is told."""
        assert self._child.stdin is not None
        line = json.dumps(message).encode() + b"\n"
        try:
            with self._lock:
                self._child.stdin.write(line)
                self._child.stdin.flush()
        except (OSError, ValueError):
            self._end()

    def close(self) -> None:
        """End it; it leaves whatever it is at."""
        assert self._child.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._child.stdin.close()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            answer = json.loads(line)
            with self._lock:
                future = self._waiting.pop(answer["id"])
            future.set_result(answer)
        self._end()

    def _end(self) -> None:
        with self._lock:
            self._has_ended = True
            left, self._waiting = list(self._waiting.values()), {}
        why = self._why()
        for future in left:
            future.set_exception(Failed(why))

    def _why(self) -> str:
        code = self._child.wait()
        with contextlib.suppress(ValueError):  # it has been read before
            self._errors.seek(0)
            self._last = self._errors.read().decode(errors="replace").strip().splitlines()[-1:]
            self._errors.close()
        return ": ".join([f"the process that writes to the store has ended (code {code})", *self._last])


def _process() -> _Process:
    """The process of this one, started where there is none."""
    with _LOCK:
        if not _running or not _running[-1].is_alive:
            _running[:] = [_Process()]
        return _running[-1]
