"""A tracker that keeps everything in memory: for tests, and for those who want no store."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnray.tracking.recorder import Recorder
from nnray.tracking.spool import Entry, MemorySpool
from nnray.tracking.tracker import RUN_TAG, MetricRow, ModelRecord
from nnray.tracking.writer import Refused

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn


@dataclass(slots=True)
class MemoryRun:
    """What was recorded of one run.

    Args:
        name: What pages would show.
        verb: ``train``, ``sweep``, ...
        parent: Key of the run that it is nested in.
        start_ms: When it started.
    """

    name: str
    verb: str
    parent: str | None
    start_ms: int
    status: str = "RUNNING"
    end_ms: int | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    rows: list[MetricRow] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    datasets: list[dict[str, Any]] = field(default_factory=list)
    models: dict[tuple[str, int], ModelRecord] = field(default_factory=dict)
    modules: dict[tuple[str, int], nn.Module] = field(default_factory=dict)

    def history(self, key: str) -> list[tuple[int, float]]:
        """``(step, value)`` of a metric, in the order in which they came."""
        return [(row.step, row.value) for row in self.rows if row.key == key]


class MemoryTracker(Recorder):
    """A tracker whose record is ``runs``, by key, and ``registered``: model name to alias to URI.

    Call ``flush`` before reading.
    """

    def __init__(self) -> None:
        self.runs: dict[str, MemoryRun] = {}
        self.registered: dict[str, dict[str, str]] = {}
        self.versions: dict[str, list[str]] = {}
        self._saved: dict[str, nn.Module] = {}
        super().__init__("memory:", self._deliver, spool=MemorySpool(), save=self._save_copy)

    def _save_copy(
        self, module: nn.Module, example: NDArray[np.float32], *, folder: Path, needs_graph: bool = True
    ) -> None:
        self._saved[str(folder)] = copy.deepcopy(module)

    def _deliver(self, entry: Entry) -> Any:
        if entry.kind == "start":
            return self._start(entry.run, entry.body)
        run = self.runs.get(entry.run)
        if run is None:
            raise Refused(f"no run with this key; known: {', '.join(sorted(self.runs)) or 'none'}")
        return getattr(self, f"_{entry.kind}")(entry.run, run, entry.body)

    def _start(self, key: str, body: Mapping[str, Any]) -> None:
        made = MemoryRun(body["name"], body["verb"], body["parent"], body["time_ms"])
        run = self.runs.setdefault(key, made)
        run.status, run.end_ms = "RUNNING", None
        run.tags |= {**body["tags"], RUN_TAG: key, "nnray.verb": body["verb"]}

    def _resume(self, _: str, run: MemoryRun, body: Mapping[str, Any]) -> None:
        run.status, run.end_ms = "RUNNING", None

    def _id(self, key: str, run: MemoryRun, body: Mapping[str, Any]) -> str:
        return key

    def _metrics(self, _: str, run: MemoryRun, body: Mapping[str, Any]) -> None:
        known = {repr(row) for row in run.rows}
        rows = (MetricRow(*row) for row in body["rows"])
        run.rows += {repr(row): row for row in rows if repr(row) not in known}.values()

    def _params(self, _: str, run: MemoryRun, body: Mapping[str, Any]) -> None:
        changed = [k for k, v in body["params"].items() if run.params.get(k, v) != v]
        run.params |= {k: v for k, v in body["params"].items() if k not in changed}
        if changed:
            raise Refused(f"parameters keep their first value: {', '.join(changed)}")

    def _tags(self, _: str, run: MemoryRun, body: Mapping[str, Any]) -> None:
        run.tags |= body["tags"]

    def _artifact(self, _: str, run: MemoryRun, body: Mapping[str, Any]) -> None:
        path = Path(body["path"])
        if not path.is_file():
            raise Refused(f"no such file: {path}")
        run.files["/".join(filter(None, (body["folder"], path.name)))] = path.read_bytes()

    def _text(self, _: str, run: MemoryRun, body: Mapping[str, Any]) -> None:
        run.files[body["file"]] = body["text"].encode()

    def _dataset(self, _: str, run: MemoryRun, body: Mapping[str, Any]) -> None:
        if dict(body) not in run.datasets:
            run.datasets.append(dict(body))

    def _model(self, key: str, run: MemoryRun, body: Mapping[str, Any]) -> ModelRecord:
        at = (body["name"], body["step"])
        if at not in run.models:
            if "problem" in body:
                raise Refused(body["problem"])
            model_id = f"{key}/{at[0]}@{at[1]}"
            run.modules[at] = self._saved[body["folder"]]
            run.models[at] = ModelRecord(f"memory:{model_id}", model_id, body["sha256"])
        self._saved.pop(body.get("folder", ""), None)
        return run.models[at]

    def _register(self, _: str, run: MemoryRun, body: Mapping[str, Any]) -> str:
        steps = [s for name, s in run.models if name == body["model"] and body["step"] in (None, s)]
        if not steps:
            raise Refused(f"no model {body['model']!r} to register; log it first")
        uri = run.models[body["model"], max(steps)].uri
        versions = self.versions.setdefault(body["name"], [])
        if uri not in versions:
            versions.append(uri)
        aliases = self.registered.setdefault(body["name"], {})
        if body.get("moves", True) or body["alias"] not in aliases:
            aliases[body["alias"]] = uri
        return str(versions.index(uri) + 1)

    def _end(self, _: str, run: MemoryRun, body: Mapping[str, Any]) -> None:
        run.status, run.end_ms = body["status"], body["time_ms"]
