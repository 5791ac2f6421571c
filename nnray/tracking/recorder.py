"""The tracker's methods, written as entries: what every kind of tracker has in common."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from nnray.clock import now_ms
from nnray.errors import IncompatibleModel, TrackingError
from nnray.tracking.spool import Entry, Spool
from nnray.tracking.tracker import Dataset, MetricRow, ModelRecord, Status, clean_name, run_key, with_flags
from nnray.tracking.writer import Deliver, GivenUp, Writer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

T = TypeVar("T")


class Save(Protocol):
    """Writes a module to a folder; it is in eval mode, on the CPU, and left as it was."""

    def __call__(
        self, module: nn.Module, example: NDArray[np.float32], *, folder: Path, needs_graph: bool = True
    ) -> None:
        """Write it, or raise ``IncompatibleModel`` or ``OSError``."""


class Recorder:
    """A tracker over anything that delivers entries.

    Args:
        uri: Where the record is kept.
        deliver: Delivers entries.
        spool: Where entries wait; what is there already goes out first.
        save: Writes models into the spool.
        answers: Whether the store answers at all; None where it always does.
        on_close: Called once nothing more is to be delivered.
    """

    def __init__(
        self,
        uri: str,
        deliver: Deliver,
        *,
        spool: Spool,
        save: Save,
        answers: Callable[[], bool] | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self._uri, self._spool, self._save, self._on_close = uri, spool, save, on_close
        self._futures: dict[str, Future[Any]] = {}
        self._writer = Writer(deliver, spool, done=self._done, answers=answers)

    @property
    def uri(self) -> str:
        """Where the record is kept."""
        return self._uri

    @property
    def spool(self) -> Path | None:
        """Where unsent records outlive this process; None if they don't."""
        return self._spool.folder if self._spool.durable else None

    def start_run(
        self,
        *,
        name: str,
        verb: str,
        key: str | None = None,
        parent: str | None = None,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        time_ms: int | None = None,
    ) -> str:
        """Start a run, or go on with the run that has this key."""
        run = run_key(name, key=key, parent=parent)
        when = now_ms() if time_ms is None else time_ms
        body = {"name": name, "verb": verb, "parent": parent, "time_ms": when, "tags": dict(tags or {})}
        self._put("start", run, body)
        self.log_params(run, params or {})
        return run

    def resume_run(self, run: str) -> None:
        """Have a run that had ended, or was cut off, stand as running again."""
        self._put("resume", run, {})

    def run_id(self, run: str, timeout_s: float = 10.0) -> str | None:
        """The store's own id of a run; None if the store has not said by then."""
        future: Future[str] = self._ask("id", run, {})
        with contextlib.suppress(TrackingError):
            return self.wait(future, timeout_s)
        return None

    def wait(self, future: Future[T], timeout_s: float = 30.0) -> T:
        """What one of this tracker's futures came to.

        Raises:
            TrackingError: The time is up, or the store is in trouble: the record waits in the spool.
            NnrayError: What went wrong with it.
        """
        if not self._writer.wait(future.done, timeout_s) and not future.done():
            raise TrackingError(f"{self._uri} has not taken it yet: {self._writer.why()}")
        return future.result(0)

    def log_metrics(self, run: str, rows: Sequence[MetricRow]) -> None:
        """Record values of metrics."""
        plain = [[row.key, row.value, row.step, row.time_ms] for row in with_flags(rows)]
        if plain:
            self._put("metrics", run, {"rows": plain})

    def log_params(self, run: str, params: Mapping[str, Any]) -> None:
        """Record parameters: flat dotted names."""
        if params:
            self._put("params", run, {"params": {clean_name(k): str(v) for k, v in params.items()}})

    def set_tags(self, run: str, tags: Mapping[str, str]) -> None:
        """Set tags; a later value replaces an earlier one."""
        if tags:
            self._put("tags", run, {"tags": {k: str(v) for k, v in tags.items()}})

    def log_artifact(self, run: str, path: Path, folder: str = "") -> None:
        """Record a file; it must stay as it is until it has been sent."""
        self._put("artifact", run, {"path": self._spool.keep(Path(path)), "folder": folder})

    def log_text(self, run: str, text: str, file: str) -> None:
        """Record a text under the file name ``file``, which may have folders."""
        self._put("text", run, {"text": text, "file": file})

    def log_json(self, run: str, value: Mapping[str, Any], file: str) -> None:
        """Record a JSON object under the file name ``file``."""
        self.log_text(run, json.dumps(value, indent=2) + "\n", file)

    def log_dataset(self, run: str, data: Dataset, context: str, *, num_examples: int | None = None) -> None:
        """Record the data set that a run reads; ``context`` is ``training``, ``validation`` or ``test``."""
        shape, classes = list(data.input_shape), list(data.classes)
        what = {"name": data.name, "input_shape": shape, "classes": classes, "digest": data.digest}
        self._put("dataset", run, {**what, "context": context, "num_examples": num_examples})

    def log_model(
        self,
        run: str,
        *,
        module: nn.Module,
        example: NDArray[np.float32],
        name: str = "model",
        step: int = 0,
        sha256: str = "",
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes] | None = None,
        needs_graph: bool = True,
    ) -> Future[ModelRecord]:
        """Log a model, once for a run, name and step; it is written to the spool before this returns."""
        body = {
            "name": clean_name(name).replace("/", "_"),
            "step": step,
            "sha256": sha256,
            "time_ms": now_ms(),
            "metrics": dict(metrics or {}),
            "params": {clean_name(k): str(v) for k, v in (params or {}).items()},
        }
        folder = self._spool.folder / f"model-{uuid.uuid4().hex}"
        try:
            with _ready(module) as plain:
                self._save(plain, example, folder=folder, needs_graph=needs_graph)
            _write_files(folder, files or {})
        except (IncompatibleModel, OSError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            self._put("model", run, {**body, "problem": str(error)})
            return _failed(error)
        return self._ask("model", run, {**body, "folder": self._spool.keep(folder)})

    def register(
        self,
        run: str,
        name: str,
        *,
        model: str = "model",
        step: int | None = None,
        alias: str = "champion",
        moves: bool = True,
    ) -> Future[str]:
        """Register a logged model of a run under ``name@alias``, once; returns the version."""
        body = {"name": name, "model": model, "step": step, "alias": alias, "moves": moves}
        return self._ask("register", run, body)

    def end_run(self, run: str, status: Status = "FINISHED", *, time_ms: int | None = None) -> None:
        """End a run."""
        self._put("end", run, {"status": status, "time_ms": now_ms() if time_ms is None else time_ms})

    def flush(self, timeout_s: float = 30.0) -> int:
        """Wait until all is stored, or the time is up; returns how many records are still unsent."""
        return self._writer.flush(timeout_s)

    def problems(self) -> tuple[str, ...]:
        """What the store refused, and why it can't be reached now; empty if all is well."""
        return self._writer.problems()

    def close(self, timeout_s: float = 30.0) -> int:
        """Flush, then stop; returns how many records were not sent."""
        left = self._writer.close(timeout_s)
        for ticket in list(self._futures):
            if (future := self._futures.pop(ticket, None)) is not None:
                future.set_exception(TrackingError(f"it was not sent: {self._writer.why()}"))
        if self._on_close is not None:
            self._on_close()
        self._spool.close()
        return left

    def _put(self, kind: str, run: str, body: Mapping[str, Any]) -> None:
        self._writer.put(Entry(kind, run, body))

    def _ask(self, kind: str, run: str, body: Mapping[str, Any]) -> Future[Any]:
        ticket, future = uuid.uuid4().hex, Future[Any]()
        self._futures[ticket] = future
        self._put(kind, run, {**body, "ticket": ticket})
        return future

    def _done(self, entry: Entry, result: Any, error: Exception | None) -> None:
        if entry.kind == "model" and not isinstance(error, GivenUp):
            self._remove(entry.body.get("folder"))
        future = self._futures.pop(str(entry.body.get("ticket")), None)
        if future is None:
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def _remove(self, name: Any) -> None:
        """Remove the files of a model: only those in the spool, whatever an entry says."""
        found = self._spool.find(name) if isinstance(name, str) else None
        if found is not None and found.resolve().parent == self._spool.folder.resolve():
            shutil.rmtree(found, ignore_errors=True)


@contextlib.contextmanager
def _ready(module: nn.Module) -> Iterator[nn.Module]:
    """What ``torch.compile`` wraps, in eval mode and on the CPU; the module itself stays as it was."""
    plain = getattr(module, "_orig_mod", module)
    if any(tensor.device.type != "cpu" for tensor in (*plain.parameters(), *plain.buffers())):
        yield copy.deepcopy(plain).cpu().eval()
        return
    modes = [(each, each.training) for each in plain.modules()]
    try:
        yield plain.eval()
    finally:
        for each, mode in modes:
            each.training = mode


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def _failed(error: Exception) -> Future[Any]:
    future = Future[Any]()
    known = isinstance(error, IncompatibleModel)
    future.set_exception(error if known else TrackingError(f"can't write the model: {error}"))
    return future
