"""A trial that is a federated run: in its worker's process, a round at a time, judged by validation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from nnray.assembly import build_model, load_data
from nnray.config import Experiment, with_overrides
from nnray.data.splits import DataSplits
from nnray.evaluation.cost import count_parameters
from nnray.runners.federated.course import Course
from nnray.runners.federated.crew import Alone
from nnray.runners.federated.masking import masked
from nnray.runners.federated.setting import Setting, make_setting, module_of
from nnray.runners.federated.stacking import decide
from nnray.runners.meter import Meter
from nnray.runners.sweep.trial import Epoch, WorkerSpec
from nnray.runners.sweep.trial import Weights as TrialWeights
from nnray.runners.training import prepare_process
from nnray.training.weights import weights_safetensors

_JUDGED = {"federated.evaluate_every": 1, "federated.workers": 0, "federated.target": None}
"""What a trial's rounds are like, whatever the file says: each is judged, and none by the test split."""


class FederatedTrainer:
    """Trains federatedly with clients of this process; a round counts as an epoch.

    Args:
        spec: Of the worker; its threads and memory are set for this process.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self._measures, self._meter = spec.measures, Meter()
        self._course: tuple[Path, Course, Setting] | None = None
        prepare_process(spec.experiment)
        torch.set_num_threads(1)

    def load(self, experiment: Experiment) -> DataSplits:
        """Training and validation data; the test split is not read."""
        return load_data(experiment)

    def train(self, experiment: Experiment, data: DataSplits, folder: Path) -> Iterator[Epoch]:
        """Train in a folder, from its newest checkpoint on."""
        setting, course = self._begin(experiment, data, folder)
        past, measured = course.state.round, self._measure(setting)
        for record in course.records():
            yield Epoch(
                record.round,
                {**record.metrics, "epoch_seconds": record.metrics["round_seconds"], **measured},
                record.time_ms,
                chosen=course.best_round in (None, record.round),
                is_last=course.is_over(record.round),
                system={} if record.round <= past else self._meter.read(),
            )

    def weights(self, experiment: Experiment, data: DataSplits, folder: Path) -> TrialWeights:
        """The best round's model."""
        if self._course is None or self._course[0] != folder:
            self._begin(experiment, data, folder)
        assert self._course is not None
        _, course, setting = self._course
        number, weights = course.best_weights or (course.state.round, course.state.weights)
        return TrialWeights(number, weights_safetensors(module_of(setting, weights)))

    def _begin(self, experiment: Experiment, data: DataSplits, folder: Path) -> tuple[Setting, Course]:
        judged = with_overrides(experiment, _JUDGED)
        setting = decide(make_setting(judged, data, tests=False))
        course = Course(setting, folder, masked(Alone(setting), setting), on_skipped=lambda _: None)
        self._course = folder, course, setting
        return setting, course

    def _measure(self, setting: Setting) -> dict[str, float]:
        if "parameters" not in self._measures:
            return {}
        return {"parameters": float(count_parameters(build_model(setting.experiment, setting.info)))}
