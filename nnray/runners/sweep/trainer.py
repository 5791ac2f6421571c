"""Trains trials with nnray's own loop: the one place where a sweep's worker meets torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from nnray.assembly import assemble, load_data
from nnray.config import Experiment
from nnray.data.splits import DataSplits
from nnray.runners.sweep.trial import Epoch, WorkerSpec
from nnray.runners.sweep.trial import Weights as TrialWeights
from nnray.runners.training import chosen_model, prepare_process, train_epochs
from nnray.training.weights import weights_safetensors


class TorchTrainer:
    """Trains with ``train_epochs``.

    Args:
        spec: Of the worker; its threads and memory are set for this process.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        prepare_process(spec.experiment)
        if spec.experiment.training.threads is None:
            torch.set_num_threads(spec.threads)

    def load(self, experiment: Experiment) -> DataSplits:
        """Training and validation data; the test split is not read."""
        return load_data(experiment)

    def train(self, experiment: Experiment, data: DataSplits, folder: Path) -> Iterator[Epoch]:
        """Train in a folder, from its newest checkpoint on."""
        select = experiment.training.select
        for record in train_epochs(assemble(experiment, data), folder):
            report = record.report
            chosen = report.is_best if select == "best" else True
            yield Epoch(report.epoch, report.metrics, record.time_ms, chosen, report.is_last)

    def weights(self, experiment: Experiment, data: DataSplits, folder: Path) -> TrialWeights:
        """The chosen epoch's model."""
        model, epoch = chosen_model(experiment, folder, splits=data)
        return TrialWeights(epoch, weights_safetensors(model))
