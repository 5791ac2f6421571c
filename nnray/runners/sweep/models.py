"""The best model of every trial, logged beside the sweep and never in its way."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load as load_safetensors
from torch import nn

from nnray.assembly import build_model
from nnray.assembly.described import about, model_files
from nnray.config import Experiment, with_overrides
from nnray.data.splits import DataSplits
from nnray.durable import write_bytes
from nnray.errors import NnrayError
from nnray.runners.sweep.ledger import Trial
from nnray.runners.sweep.trial import Weights, describe, trial_folder
from nnray.runners.training import chosen_model
from nnray.tracking import ModelRecord, Tracker
from nnray.training.weights import weights_safetensors


@dataclass(frozen=True, slots=True)
class Logged:
    """What became of a trial's model.

    Args:
        trial: Its number.
        uri: Where it was logged; empty if it was not.
        sha256: Of the weights.
        problem: Why it was not logged; empty if it was, if it waits for the store, or if there is none.
    """

    trial: int
    uri: str = ""
    sha256: str = ""
    problem: str = ""


class Models:
    """Waits for trials' models, keeps them on disk, and logs them: each in a thread of its own.

    Args:
        tracker: Where to.
        experiment: The sweep's.
        folder: Of the sweep's run; models are kept below it too.
        splits: Trials' data.
        example: Inputs as a model takes them.
    """

    def __init__(
        self,
        tracker: Tracker,
        experiment: Experiment,
        *,
        folder: Path,
        splits: DataSplits,
        example: NDArray[np.float32],
    ) -> None:
        self._tracker, self._experiment, self._folder = tracker, experiment, folder
        self._splits, self._example = splits, example
        self._fetching = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nnray-weights")
        self._logging = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nnray-models")
        self._fetched: Future[int | None] | None = None
        self._waiting: dict[int, Future[tuple[Future[ModelRecord], str] | None]] = {}

    def take(self, trial: Trial, get: Callable[[], Weights | None]) -> None:
        """Log the model of a trial that has ended, as soon as its worker gives it."""
        self._fetched = self._fetching.submit(self._fetch, trial, get)
        self._waiting[trial.number] = self._logging.submit(self._log, trial, self._fetched)

    def recover(self, trial: Trial) -> None:
        """Log the model of a trial that ended in an earlier process, which had no time to."""
        self.take(trial, lambda: self._left(trial))

    def wait_for_weights(self, timeout_s: float) -> bool:
        """Wait until no worker is needed any more; whether that is so."""
        return self._fetched is None or bool(wait([self._fetched], timeout_s).done)

    def done(self) -> Iterator[Logged]:
        """What has been logged since the last call."""
        for number, future in list(self._waiting.items()):
            if future.done() and (future.exception() or _is_settled(future)):
                yield self._result(number, 0.0)

    def finish(self, timeout_s: float) -> Iterator[Logged]:
        """Wait for all, each so long at most."""
        for number in list(self._waiting):
            yield self._result(number, timeout_s)
        for pool in (self._fetching, self._logging):
            pool.shutdown(wait=False, cancel_futures=True)

    def _result(self, number: int, timeout_s: float) -> Logged:
        future = self._waiting.pop(number)
        try:
            made = future.result(timeout_s)
            if made is None:
                return Logged(number)
            return self._stored(number, *made, timeout_s=timeout_s)
        except FutureTimeoutError:
            return Logged(number, problem=f"its worker did not give its model within {timeout_s:g} s")
        except Exception as error:  # noqa: BLE001 (a lost worker, a full disk: the sweep goes on, and says so)
            return Logged(number, problem=describe(error))

    def _stored(self, number: int, logged: Future[ModelRecord], sha256: str, *, timeout_s: float) -> Logged:
        try:
            return Logged(number, self._tracker.wait(logged, timeout_s).uri, sha256)
        except NnrayError as error:
            # One that has not been taken yet waits with the run's other records, which `settle` tells of.
            return Logged(number, problem=str(error) if logged.done() else "")

    def _left(self, trial: Trial) -> Weights | None:
        """What an earlier process left of a trial: its model, or the checkpoints to take it from."""
        path = model_file(self._folder, trial.number)
        if path.exists():
            return Weights(trial.chosen, path.read_bytes())
        folder = trial_folder(self._folder, trial.number)
        if not (folder / "checkpoints").exists():
            return None
        experiment = with_overrides(self._experiment, trial.params)
        model, epoch = chosen_model(experiment, folder, splits=self._splits)
        write_bytes(path, weights_safetensors(model))
        shutil.rmtree(folder / "checkpoints")
        return Weights(epoch, path.read_bytes())

    def _fetch(self, trial: Trial, get: Callable[[], Weights | None]) -> int | None:
        """Have a trial's model on this disk; the epoch it is of, or None if there is no model."""
        weights = get()
        if weights is None:
            return None
        keep(self._folder, trial.number, weights=weights)
        return weights.epoch

    def _log(self, trial: Trial, fetched: Future[int | None]) -> tuple[Future[ModelRecord], str] | None:
        epoch = fetched.result()
        if epoch is None:
            return None
        data = model_file(self._folder, trial.number).read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        experiment = with_overrides(self._experiment, trial.params)
        module = restore(experiment, self._splits, data=data)
        logged = self._tracker.log_model(
            trial.run,
            module=module,
            example=self._example,
            step=epoch,
            sha256=sha256,
            metrics=trial.metrics,
            params=trial.params,
            files=model_files(data, about(experiment, self._splits.info)),
        )
        return logged, sha256


def _is_settled(future: Future[tuple[Future[ModelRecord], str] | None]) -> bool:
    made = future.result()
    return made is None or made[0].done()


def keep(folder: Path, number: int, *, weights: Weights) -> None:
    """Have a trial's model on this machine too, where its worker wrote it on another."""
    path = model_file(folder, number)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, weights.data)


def model_file(folder: Path, number: int) -> Path:
    """Where the model of a trial is kept."""
    return trial_folder(folder, number) / "model.safetensors"


def restore(experiment: Experiment, splits: DataSplits, *, data: bytes) -> nn.Module:
    """A model from the bytes of its weights."""
    model = build_model(experiment, splits.info)
    model.load_state_dict(load_safetensors(data))
    return model.eval()
