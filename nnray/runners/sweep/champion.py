"""The champion: the best trial's model taken, or its configuration trained again.

It is measured on the test split once, after all choices are made; nothing before it in a sweep
reads that split.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import nn

from nnray.assembly import assemble, load_data
from nnray.assembly.described import about
from nnray.config import Experiment
from nnray.data.splits import DataSplits
from nnray.errors import RunError
from nnray.runners.exhibits.show import show
from nnray.runners.folder import RunFolder
from nnray.runners.recording import Notes, log_model, metric_rows, test_once
from nnray.runners.sweep.ledger import Trial
from nnray.runners.sweep.models import model_file, restore
from nnray.runners.training import chosen_model, train_epochs
from nnray.tracking import Tracker
from nnray.training.storage import as_folder
from nnray.training.weights import weights_sha256


@dataclass(frozen=True, slots=True)
class Champion:
    """The model that a sweep came to.

    Args:
        module: On the CPU.
        metrics: On validation data and on the test split.
        sha256: Of its weights.
        uri: Where it is logged; empty where the store is away.
        text: Which model it is.
    """

    module: nn.Module
    metrics: dict[str, float]
    sha256: str
    uri: str
    text: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """All that a champion is made from.

    Args:
        experiment: The best one.
        trial: The best one.
        folder: Of the sweep.
        tracker: Where it is recorded.
        run: Key of the sweep's run.
        example: Inputs as a model takes them.
        notes: Where a person is told what the store has not taken.
    """

    experiment: Experiment
    trial: Trial
    folder: RunFolder
    tracker: Tracker
    run: str
    example: NDArray[np.float32]
    notes: Notes

    def take(self) -> Champion:
        """Take the model that the best trial came to.

        Raises:
            RunError: It could not be kept.
        """
        path = model_file(self.folder.path, self.trial.number)
        if not path.exists():
            raise RunError(f"the model of trial {self.trial.number} is lost: {path} is not there")
        splits, data = load_data(self.experiment), path.read_bytes()
        try:
            module = restore(self.experiment, splits, data=data)
        except (SafetensorError, RuntimeError) as error:
            raise RunError(
                f"the model of trial {self.trial.number} can't be read from {path}: {error}"
            ) from error
        metrics = dict(self.trial.metrics) | self._test(module, splits)
        self.tracker.register(self.trial.run, self.experiment.registered_name, step=self.trial.chosen)
        text = f"the model of trial {self.trial.number} at epoch {self.trial.chosen}, taken as it is"
        return Champion(module, metrics, hashlib.sha256(data).hexdigest(), self.trial.model_uri, text)

    def retrain(self) -> Champion:
        """Train the best configuration again, on the same training data."""
        splits = load_data(self.experiment)
        folder = self.folder.path / "champion"
        folder.mkdir(exist_ok=True)
        records = []
        for record in train_epochs(assemble(self.experiment, splits), folder):
            self.tracker.log_metrics(self.run, metric_rows(record))
            records.append(record)
        module, epoch = chosen_model(self.experiment, folder, splits=splits)
        metrics = dict(records[epoch - 1].report.metrics) | self._test(module, splits)
        sha256 = weights_sha256(module)
        uri = log_model(
            self.tracker,
            self.notes,
            run=self.run,
            module=module,
            example=self.example,
            step=epoch,
            sha256=sha256,
            metrics=metrics,
            register=self.experiment.registered_name,
            described=about(self.experiment, splits.info),
            is_champion=True,
        )
        text = f"trained again with the values of trial {self.trial.number}, at epoch {epoch}"
        return Champion(module, metrics, sha256, uri, text)

    def _test(self, module: nn.Module, splits: DataSplits) -> dict[str, float]:
        metrics, rows = test_once(self.experiment, module, splits=splits, folder=self.folder)
        self.tracker.log_metrics(self.run, rows)
        show(
            self.experiment,
            module,
            splits=splits,
            storage=as_folder(self.folder.path),
            folder=self.folder,
            tracker=self.tracker,
            run=self.run,
        )
        return metrics
