"""Trains trials with nnray's own loop: the one place where a sweep's worker meets torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from nnray.assembly import Assembly, assemble, build_model, load_data
from nnray.config import Experiment
from nnray.data.splits import DataSplits
from nnray.durable import write_json
from nnray.errors import ClusterError
from nnray.evaluation.cost import count_parameters, measure_latency
from nnray.runners.meter import Meter
from nnray.runners.sweep.trial import Epoch, WorkerSpec
from nnray.runners.sweep.trial import Weights as TrialWeights
from nnray.runners.training import chosen_model, prepare_process, train_epochs
from nnray.training.ranks import ALONE, Ranks, joined
from nnray.training.weights import weights_safetensors


class TorchTrainer:
    """Trains with ``train_epochs``, together with the other ranks where this process is one of several.

    Args:
        spec: Of the worker; its threads and memory are set for this process.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self._measures = spec.measures
        self._meter = Meter()
        self._world: Any = None
        self._ranks = ALONE
        prepare_process(spec.experiment)
        if spec.experiment.training.threads is None:
            torch.set_num_threads(spec.threads)

    def load(self, experiment: Experiment) -> DataSplits:
        """Training and validation data; the test split is not read."""
        return load_data(experiment)

    def train(self, experiment: Experiment, data: DataSplits, folder: Path) -> Iterator[Epoch]:
        """Train in a folder, from its newest checkpoint on."""
        select = experiment.training.select
        ranks = self._join(experiment)
        built = assemble(experiment, data, ranks=ranks)
        measured = self._measure(built, folder) if ranks.rank == 0 else {}
        for record in train_epochs(built, folder):
            report = record.report
            yield Epoch(
                report.epoch,
                {**report.metrics, **measured},
                record.time_ms,
                chosen=report.is_best if select == "best" else True,
                is_last=report.is_last,
                system={} if record.replayed else self._meter.read(),
            )

    def weights(self, experiment: Experiment, data: DataSplits, folder: Path) -> TrialWeights:
        """The chosen epoch's model."""
        model, epoch = chosen_model(experiment, folder, splits=data)
        return TrialWeights(epoch, weights_safetensors(model))

    def _join(self, experiment: Experiment) -> Ranks:
        """The ranks of this process's group, which stays from trial to trial as long as all goes well."""
        world = dist.group.WORLD if dist.is_initialized() else None
        if world is not self._world:
            self._ranks, self._world = ALONE if world is None else _joined(experiment), world
        return self._ranks

    def _measure(self, built: Assembly, folder: Path) -> dict[str, float]:
        """What is asked for beside the metrics; once for a trial, whoever goes on with it."""
        path, found = folder / "measures.json", dict[str, float]()
        if path.exists():
            found = json.loads(path.read_text())
        missing = self._measures - found.keys()
        if "parameters" in missing:
            found["parameters"] = float(count_parameters(built.state.model))
        if "latency_ms" in missing:
            inputs, _ = next(iter(built.val.epoch(0)))
            found["latency_ms"] = measure_latency(_whole(built), inputs[:1])
        if missing:
            write_json(path, found)
        return found


def _joined(experiment: Experiment) -> Ranks:
    assert experiment.parallel is not None
    try:
        return joined(timeout_s=experiment.parallel.timeout_s)
    except RuntimeError as error:
        raise ClusterError(f"the ranks have not come together: {error}") from error


def _whole(built: Assembly) -> nn.Module:
    """A model that one rank can run by itself: not one that is cut among them."""
    parallel = built.experiment.parallel
    if built.ranks.size > 1 and parallel is not None and parallel.strategy == "fsdp":
        return build_model(built.experiment, built.splits.info).to(built.device)
    return built.state.model
