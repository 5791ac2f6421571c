"""Trains with a group of workers: Ray Train starts it, and starts it again when it is lost."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError

from nnray.config import Experiment
from nnray.errors import RunError
from nnray.runners.display import Display
from nnray.runners.parallel.mailbox import open_mailbox, receive
from nnray.runners.parallel.messages import Began, Fatal, Fault, Message, Moved, Note, Trained
from nnray.runners.parallel.settings import STARTS, environment, make_trainer
from nnray.runners.parallel.watch import explain
from nnray.runners.parallel.worker import RankSpec
from nnray.runners.sweep.interrupts import Interrupts
from nnray.runners.training import EpochRecord
from nnray.training.fence import newest_attempt
from nnray.training.storage import open_folder

_WAIT_S = 1.0
_STOP_S = 30.0
"""How long the controller has to end its workers; they end with this process in any case."""


class Group:
    """The workers of a run, from the driver's side.

    Args:
        experiment: With a ``parallel`` section.
        storage: Path or URI of the run's folder in the storage.
        folder: The run's folder on this machine.
        interrupts: Whether the run was told to stop.
        on_fault: Called with what has happened to workers.
    """

    def __init__(
        self,
        experiment: Experiment,
        *,
        storage: str,
        folder: Path,
        interrupts: Interrupts,
        on_fault: Callable[[str], None],
    ) -> None:
        assert experiment.parallel is not None
        self._experiment, self._parallel = experiment, experiment.parallel
        self._storage, self._folder = storage, folder
        self._interrupts, self._on_fault = interrupts, on_fault
        self._epoch = 0

    def epochs(self, display: Display) -> Iterator[EpochRecord]:
        """Train; each epoch comes once, however often workers are started again.

        Args:
            display: Shows progress.

        Raises:
            RunError: Workers were lost too often.
            NnrayError: Whatever a worker found wrong that another try would not mend.
        """
        attempt = newest_attempt(open_folder(self._storage).child("checkpoints"))
        mailbox = open_mailbox(attempt)
        spec = RankSpec(self._experiment, self._storage, mailbox, tuple(sys.path))
        trainer = make_trainer(self._parallel, spec, folder=self._folder)
        with environment(self._parallel), _Fit(trainer, mailbox) as fit, self._interrupts.calm():
            for message in self._messages(mailbox, fit):
                record = self._take(message, display)
                if record is not None:
                    yield record
        if fit.error is not None:
            raise self._given_up(fit.error) from fit.error

    def _messages(self, mailbox: Any, fit: _Fit) -> Iterator[Message]:
        while True:
            has_ended = fit.has_ended  # before the look: what was sent until then is taken
            yield from receive(mailbox, 0.0 if has_ended else _WAIT_S)
            if self._interrupts.is_set:
                raise KeyboardInterrupt
            if has_ended:
                return

    def _take(self, message: Message, display: Display) -> EpochRecord | None:
        match message:
            case Trained(record) if record.report.epoch > self._epoch:
                self._epoch = record.report.epoch
                return record
            case Moved(progress) if progress.epoch > self._epoch:
                display.progress(progress)
            case Began(attempt, size):
                display.note(f"{size} workers (attempt {attempt})")
            case Note(text):
                display.note(f"warning: {text}")
            case Fault(text):
                display.note(f"warning: {text}")
                self._on_fault(text)
            case Fatal(error):
                raise error
            case _:
                pass
        return None

    def _given_up(self, error: BaseException) -> Exception:
        if not isinstance(error, TrainingFailedError):
            return RunError(f"Ray Train has failed: {type(error).__name__}: {error}")
        limit = f"that is once more than parallel.max_failures, {self._parallel.max_failures}, allows"
        if isinstance(error, ControllerError):
            limit = f"workers could not be started {STARTS} times"
        return RunError(
            f"training was given up after epoch {self._epoch}: {explain(error)}: {limit}; "
            f"`nnray resume {self._folder.name}` goes on from the last checkpoint"
        )


class _Fit:
    """Ray Train's own call, in a thread: the driver's first one takes messages and signals."""

    def __init__(self, trainer: Any, mailbox: Any) -> None:
        self._trainer, self._mailbox = trainer, mailbox
        self._thread = threading.Thread(target=self._run, name="nnray-train", daemon=True)
        self.error: BaseException | None = None

    @property
    def has_ended(self) -> bool:
        """Whether training is over, well or not."""
        return not self._thread.is_alive()

    def __enter__(self) -> _Fit:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        if not self.has_ended:
            self._abort()

    def _run(self) -> None:
        try:
            self._trainer.fit()
        except BaseException as error:  # noqa: BLE001 (raised in the driver's thread)
            self.error = error

    def _abort(self) -> None:
        """Have the controller end its workers and itself."""
        with contextlib.suppress(RayError, GetTimeoutError):
            controller = ray.get(self._mailbox.controller.remote(), timeout=_STOP_S)
            if controller is not None:
                ray.get(controller.abort.remote(), timeout=_STOP_S)
        self._thread.join(_STOP_S)
