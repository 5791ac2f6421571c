"""What a tracker is: the one record of everything that runs.

Runs go by a key of our own making, such as the name of the run's folder, which is also the tag
``nnray.run`` in the store. A key is valid at once, before the store has answered, and in a later
process: starting a run whose key the store knows goes on with that run. So nothing on the training
path waits for the store, and nothing is recorded twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

T = TypeVar("T")
Status = Literal["FINISHED", "FAILED", "KILLED"]
RUN_TAG = "nnray.run"
NOT_FINITE = "_not_finite"
_UNSAFE = re.compile(r"[^\w. /:-]")


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One value of a metric, with the time at which it came to be.

    Args:
        key: Name; what stores don't allow in names is replaced.
        value: Any float; NaN and infinities get a row ``<key>_not_finite`` beside them.
        step: Epoch or round.
        time_ms: Milliseconds since 1970. The same row sent again is stored once.
    """

    key: str
    value: float
    step: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """A model as it was logged.

    Args:
        uri: Loads with ``mlflow.pyfunc.load_model``.
        model_id: The store's id.
        sha256: Of the weights, as it was given with them.
    """

    uri: str
    model_id: str
    sha256: str


class Dataset(Protocol):
    """What is recorded of a data set; ``DataInfo`` is one."""

    @property
    def name(self) -> str:
        """Of the data set."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one example."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, by label."""

    @property
    def digest(self) -> str:
        """Of the examples, as hex."""


class Tracker(Protocol):
    """A record of runs. Only the driver writes; no call waits for the store or raises what it raises."""

    @property
    def uri(self) -> str:
        """Where the record is kept."""

    @property
    def spool(self) -> Path | None:
        """Where unsent records outlive this process; None if they don't."""

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
        """Start a run, or go on with the run that has this key.

        Args:
            name: What the store's pages show.
            verb: ``train``, ``sweep``, ``trial``, ...
            key: Unique in the store; ``name``, or ``parent/name``, where left out.
            parent: Key of the run that this one is nested in.
            params: Flat dotted names.
            tags: As from ``tracking.tags.run_tags``.
            time_ms: When it started; now, where left out.

        Returns:
            The run's key, by which all other methods name it.
        """

    def resume_run(self, run: str) -> None:
        """Have a run that had ended, or was cut off, stand as running again."""

    def run_id(self, run: str, timeout_s: float = 10.0) -> str | None:
        """The store's own id of a run; None if the store has not said by then."""

    def wait(self, future: Future[T], timeout_s: float = 30.0) -> T:
        """What ``log_model`` or ``register`` came to, waiting as ``flush`` does.

        Raises:
            TrackingError: The time is up, or the store is in trouble: the record waits in the spool.
            NnrayError: What went wrong with it.
        """

    def log_metrics(self, run: str, rows: Sequence[MetricRow]) -> None:
        """Record values of metrics."""

    def log_params(self, run: str, params: Mapping[str, Any]) -> None:
        """Record parameters: flat dotted names."""

    def set_tags(self, run: str, tags: Mapping[str, str]) -> None:
        """Set tags; a later value replaces an earlier one."""

    def log_artifact(self, run: str, path: Path, folder: str = "") -> None:
        """Record a file; it must stay as it is until it has been sent."""

    def log_text(self, run: str, text: str, file: str) -> None:
        """Record a text under the file name ``file``, which may have folders."""

    def log_json(self, run: str, value: Mapping[str, Any], file: str) -> None:
        """Record a JSON object under the file name ``file``."""

    def log_dataset(self, run: str, data: Dataset, context: str, *, num_examples: int | None = None) -> None:
        """Record the data set that a run reads; ``context`` is ``training``, ``validation`` or ``test``."""

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
        """Log a model, once for a run, name and step; it is written down before this returns.

        That takes seconds: not for the training path.

        Args:
            run: Key of the run that made it.
            module: In any mode, on any device.
            example: Two inputs or more, as the module takes them.
            name: Name within the run.
            step: Epoch or round of these weights.
            sha256: Of the weights, as ``training.weights`` has it; recorded with the model.
            metrics: Of these weights; linked to the run's own rows at ``step``.
            params: Shown with the model.
            files: Further files beside the graph, by name.
            needs_graph: Refuse a module that can't be traced, rather than log its files alone.

        Returns:
            What was logged, once it has been; its exception names what went wrong. See ``wait``.
        """

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
        """Register a logged model of a run under ``name@alias``, once; returns the version.

        Args:
            run: Key of the run that logged the model.
            name: Of the registered model.
            model: Name of the model within the run.
            step: Its step; the highest where left out.
            alias: Points to this version from then on.
            moves: Take the alias from another version; else it goes to this one only where none has it.
        """

    def end_run(self, run: str, status: Status = "FINISHED", *, time_ms: int | None = None) -> None:
        """End a run."""

    def flush(self, timeout_s: float = 30.0) -> int:
        """Wait until all is stored, or the time is up; returns how many records are still unsent.

        While the store is in trouble, all waits together take about five seconds.
        """

    def problems(self) -> tuple[str, ...]:
        """What the store refused, and why it can't be reached now; empty if all is well."""

    def close(self, timeout_s: float = 30.0) -> int:
        """Flush, then stop; returns how many records were not sent."""


def run_key(name: str, *, key: str | None, parent: str | None) -> str:
    """The key of a run: as given, else its name, below its parent's key if it has one."""
    return key or (f"{parent}/{name}" if parent else name)


def with_flags(rows: Sequence[MetricRow]) -> Iterator[MetricRow]:
    """Rows with clean names, and a row of its own beside each value that is not finite.

    Stores keep an infinity as a large number and NaN as zero: only the flag tells them apart.
    """
    for row in rows:
        key = clean_name(row.key)
        yield MetricRow(key, float(row.value), int(row.step), int(row.time_ms))
        if not math.isfinite(row.value):
            yield MetricRow(key + NOT_FINITE, 1.0, int(row.step), int(row.time_ms))


def clean_name(name: str, *, limit: int = 250 - len(NOT_FINITE)) -> str:
    """A name that every store takes: the characters it allows, no path tricks, not too long."""
    parts = (part.strip() for part in _UNSAFE.sub("_", name).split("/"))
    return "/".join(part for part in parts if part.strip("."))[:limit] or "_"
