"""Two hundred trials that do nothing: the driver keeps its size, and its files."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from nnray.config import Experiment
from nnray.runners.cluster import Cluster, Resources
from nnray.runners.sweep.demand import Demand
from nnray.runners.sweep.engine import Engine
from nnray.runners.sweep.trial import Epoch, Weights, WorkerSpec
from tests.unit.sweep.bench import Bench, make_experiment

pytestmark = pytest.mark.ray
TRIALS, WARM = 200, 100
MOST_BYTES = 1_000_000 * (TRIALS - WARM) // 100
SLACK_BYTES = 1_500_000
"""What an allocator may keep for itself between two looks."""


class Trivial:
    """Reports three epochs at once."""

    def __init__(self, spec: WorkerSpec) -> None:
        pass

    def load(self, experiment: Experiment) -> None:
        return None

    def train(self, experiment: Experiment, data: Any, folder: Path) -> Iterator[Epoch]:
        for epoch in (1, 2, 3):
            yield Epoch(epoch, {"val_accuracy": epoch / 4}, epoch, True, epoch == 3)

    def weights(self, experiment: Experiment, data: Any, folder: Path) -> Weights:
        return Weights(3, b"")


def test_trials_leave_nothing_behind_in_the_driver(cluster: Cluster, tmp_path: Path) -> None:
    process, looks = psutil.Process(), dict[int, tuple[int, int]]()
    live = Bench(make_experiment(trials=TRIALS, search="random"), tmp_path)
    live.begin()

    def look() -> None:
        done = live.ledger.counts.get("finished", 0)
        if done >= WARM and WARM not in looks:
            gc.collect()
            looks[WARM] = process.memory_info().rss, process.num_fds()

    engine = Engine(
        conductor=live.conductor,
        spec=WorkerSpec(live.experiment, tmp_path, threads=1),
        make_trainer=Trivial,
        each=Demand(Resources(1)),
        concurrency=2,
        on_model=lambda number, wait: None,
        on_step=look,
    )
    engine.run()
    gc.collect()
    assert live.ledger.counts == {"finished": TRIALS}
    memory, files = looks[WARM]
    assert process.num_fds() <= files + 2
    assert process.memory_info().rss - memory < MOST_BYTES + SLACK_BYTES
