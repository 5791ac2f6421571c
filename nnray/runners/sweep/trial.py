"""What a worker does with a trial: train it, an epoch at a time, and never die of it.

A worker is one process that trains one trial after another. It keeps the data in memory as long
as the next trial reads the same, and whatever goes wrong in a trial is an outcome, not the end of
the worker. No Ray in here.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from nnray.config import Experiment, flatten, with_overrides
from nnray.data.root import take_root, told_root
from nnray.durable import write_bytes
from nnray.errors import ClusterError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch has ended.

    Args:
        epoch: Counted from 1.
        metrics: Flat names to numbers.
        time_ms: When it ended.
        chosen: Whether the trial's model is this epoch's, as far as is known.
        is_last: Whether the trial ends with it.
        system: What it took of the machine.
    """

    epoch: int
    metrics: Mapping[str, float]
    time_ms: int
    chosen: bool
    is_last: bool
    system: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """The trial has failed.

    Args:
        reason: In words, with the kind of error.
        is_echo: A collective broke off: what went wrong is to be found at another rank.
        is_death: A process is lost with it.
    """

    reason: str
    is_echo: bool = False
    is_death: bool = False


@dataclass(frozen=True, slots=True)
class Resting:
    """There is nothing to do: the trial has ended and the next has not come."""


Outcome = Epoch | Failure | Resting


@dataclass(frozen=True, slots=True)
class Weights:
    """The model that a trial came to.

    Args:
        epoch: Whose weights they are.
        data: As the bytes of a safetensors file.
    """

    epoch: int
    data: bytes


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What all trials of a sweep have in common.

    Args:
        experiment: The sweep's.
        folder: Of the sweep's run.
        threads: CPU threads of a worker.
        measures: What is measured of each model beside its metrics, such as ``parameters``.
        ranks: Processes that train a trial together.
        search: Entries of ``sys.path`` under which user code is found.
        cwd: Folder that relative paths in the experiment start from.
        data: The driver's ``$NNRAY_DATA``.
    """

    experiment: Experiment
    folder: Path
    threads: int
    measures: frozenset[str] = frozenset()
    ranks: int = 1
    search: Sequence[str] = ()
    cwd: Path = field(default_factory=Path.cwd)
    data: str | None = field(default_factory=told_root)

    def trial_folder(self, number: int) -> Path:
        """Where a trial keeps its history and checkpoints."""
        return trial_folder(self.folder, number)


def trial_folder(sweep: Path, number: int) -> Path:
    """The folder of a trial of the sweep in folder ``sweep``."""
    return sweep / "trials" / f"{number:04d}"


class Trainer(Protocol):
    """How a trial is trained; tests put something quicker in its place."""

    def load(self, experiment: Experiment, /) -> Any:
        """The data of an experiment."""

    def train(self, experiment: Experiment, data: Any, folder: Path, /) -> Iterator[Epoch]:
        """Train in a folder; go on where an earlier process left off."""

    def weights(self, experiment: Experiment, data: Any, folder: Path, /) -> Weights:
        """The model that training came to."""


class Worker:
    """Trains one trial after another.

    Args:
        spec: What they have in common.
        make_trainer: Makes what trains them, once this process is set up.
    """

    def __init__(self, spec: WorkerSpec, make_trainer: Callable[[WorkerSpec], Trainer]) -> None:
        self._spec, self._make_trainer = spec, make_trainer
        self._trainer: Trainer | None = None
        self._data: tuple[str, Any] = ("", None)
        self._trial: tuple[int, Mapping[str, Any]] | None = None
        self._epochs: Iterator[Epoch] | None = None
        self._is_over = True

    def begin(self, number: int, params: Mapping[str, Any]) -> None:
        """Take on a trial; whatever is wrong with it comes out in the next ``step``."""
        self._trial, self._epochs, self._is_over = (number, params), None, False

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to do."""
        return self._is_over

    def prepare(self) -> Failure | None:
        """Read the trial's data; ``step`` would do it too, but other ranks may be waiting there."""
        if self._is_over or self._epochs is not None:
            return None
        made = self._attempt(self._start)
        if isinstance(made, Failure):
            return made
        self._epochs = made
        return None

    def step(self) -> Outcome:
        """Train one more epoch."""
        if self._is_over:
            return Resting()
        failure = self.prepare()
        return self._attempt(self._next) if failure is None else failure

    def rest(self) -> None:
        """Leave the trial where it stands; it will go on, here or elsewhere."""
        self._is_over, self._epochs = True, None

    def finish(self) -> Weights | None:
        """End the trial, and give the model that it came to; None if it has none.

        The model is kept in the trial's folder, and its checkpoints are removed.
        """
        self._is_over, self._epochs = True, None
        assert self._trial is not None
        number, params = self._trial
        folder = self._spec.trial_folder(number)
        if self._trainer is None or not (folder / "checkpoints").exists():
            return None
        experiment = with_overrides(self._spec.experiment, params)
        weights = self._trainer.weights(experiment, self._data[1], folder)
        write_bytes(folder / "model.safetensors", weights.data)
        shutil.rmtree(folder / "checkpoints")
        return weights

    def _attempt(self, what: Callable[[], T]) -> T | Failure:
        """Do something; whatever goes wrong ends the trial, not the worker."""
        try:
            return what()
        except StopIteration:
            return self._fail("ended without an epoch that was its last")
        except MemoryError:
            return self._fail("out of memory")
        except ClusterError as error:
            return self._fail(describe(error), is_echo=True)
        except Exception as error:  # noqa: BLE001 (a trial's error must not end the worker)
            return self._fail(describe(error))

    def _next(self) -> Epoch:
        assert self._epochs is not None
        return next(self._epochs)

    def _start(self) -> Iterator[Epoch]:
        assert self._trial is not None
        number, params = self._trial
        if self._trainer is None:
            _set_up_paths(self._spec)
            self._trainer = self._make_trainer(self._spec)
        experiment = with_overrides(self._spec.experiment, params)
        folder = self._spec.trial_folder(number)
        folder.mkdir(parents=True, exist_ok=True)
        return self._trainer.train(experiment, self._load(self._trainer, experiment), folder)

    def _load(self, trainer: Trainer, experiment: Experiment) -> Any:
        """The data, from memory if the last trial read the same."""
        key = data_key(experiment)
        if key != self._data[0]:
            self._data = (key, trainer.load(experiment))
        return self._data[1]

    def _fail(self, reason: str, *, is_echo: bool = False) -> Failure:
        self._is_over, self._epochs = True, None
        return Failure(reason, is_echo)


def data_key(experiment: Experiment) -> str:
    """All that the examples depend on: two experiments with the same key read the same."""
    what = {path: value for path, value in flatten(experiment).items() if path.startswith("data.")}
    return json.dumps([experiment.seed, what], sort_keys=True, default=str)


def describe(error: BaseException) -> str:
    """An error in one line, with its kind."""
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text}"[:500]


def _set_up_paths(spec: WorkerSpec) -> None:
    sys.path[:0] = [entry for entry in spec.search if entry not in sys.path]
    take_root(spec.data)
    if spec.cwd.is_dir():
        os.chdir(spec.cwd)
