"""The tracker's methods, written as entries: what every kind of tracker has in common."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnray.errors import TrackingError
from nnray.tracking.spool import Entry, Spool
from nnray.tracking.tracker import Dataset, MetricRow, ModelRecord, Status, clean_name, run_key, with_flags
from nnray.tracking.writer import Deliver, Writer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn


@dataclass(frozen=True, slots=True)
class HeldModel:
    """A module waiting to be written, and inputs to write it with."""

    module: nn.Module
    example: NDArray[np.float32]


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Recorder:
    """A tracker over anything that delivers entries.

    Args:
        uri: Where the record is kept.
        make_deliver: Given the models that wait to be written, by folder, makes what delivers entries.
        spool: Where entries wait.
    """

    def __init__(
        self, uri: str, make_deliver: Callable[[Mapping[str, HeldModel]], Deliver], *, spool: Spool
    ) -> None:
        self._uri, self._spool = uri, spool
        self._futures: dict[str, Future[Any]] = {}
        self._models: dict[str, HeldModel] = {}
        self._writer = Writer(make_deliver(self._models), spool, done=self._done)

    @property
    def uri(self) -> str:
        """Where the record is kept."""
        return self._uri

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
        with contextlib.suppress(TrackingError, FutureTimeoutError):
            return future.result(timeout_s)
        return None

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
        self._put("artifact", run, {"path": str(Path(path).absolute()), "folder": folder})

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
    ) -> Future[ModelRecord]:
        """Log a model, once for a run, name and step; the module is copied before this returns."""
        folder = str(self._spool.folder / f"model-{uuid.uuid4().hex}")
        plain = getattr(module, "_orig_mod", module)  # what torch.compile wraps
        self._models[folder] = HeldModel(copy.deepcopy(plain), example)
        body = {
            "name": clean_name(name).replace("/", "_"),
            "step": step,
            "sha256": sha256,
            "time_ms": now_ms(),
            "folder": folder,
            "metrics": dict(metrics or {}),
            "params": {clean_name(k): str(v) for k, v in (params or {}).items()},
        }
        return self._ask("model", run, body)

    def register(
        self, run: str, name: str, *, model: str = "model", step: int | None = None, alias: str = "champion"
    ) -> Future[str]:
        """Register a logged model of a run under ``name@alias``, once; returns the version."""
        return self._ask("register", run, {"name": name, "model": model, "step": step, "alias": alias})

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
        """Flush, then stop; returns how many records were never sent."""
        left = self._writer.close(timeout_s)
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
        if entry.kind == "model":
            self._models.pop(entry.body["folder"], None)
            shutil.rmtree(entry.body["folder"], ignore_errors=True)
        future = self._futures.pop(entry.body.get("ticket", ""), None)
        if future is None:
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
