"""Workers and nodes that are killed in mid-epoch: training goes on by itself, to the same bits.

What was trained on stands in a ledger that the workers write themselves. The raylets are processes of
this machine, each a node of its own to Ray.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from nnray.config import Experiment, parse
from nnray.errors import ClusterError, RunError
from nnray.runners.display import Quiet
from nnray.runners.folder import RunFolder, create, state
from nnray.runners.parallel import train
from nnray.runners.results import RunResult
from nnray.tracking import MemoryTracker

pytestmark = [
    pytest.mark.faults,
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # Ray Data's own, of its own settings
]

USER_CODE = Path(__file__).parent / "user_code"
EPOCHS, BATCHES = 4, 10
TIMED = ("samples_per_s", "epoch_seconds")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A head without CPUs and three nodes with one each; a lost one is noticed within 9 s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("PYTHONPATH", f"{USER_CODE}:{Path(__file__).parents[2]}")
        patch.setattr(sys, "path", [str(USER_CODE), *sys.path])
        checks = {
            "health_check_period_ms": 1000,
            "health_check_timeout_ms": 2000,
            "health_check_failure_threshold": 3,
        }
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": checks}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(3):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        try:
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Done:
    """A run that has ended."""

    result: RunResult
    folder: RunFolder
    rows: Mapping[tuple[str, int], float]
    ledger: Path

    def batches(self, rank: int) -> list[list[str]]:
        """What each process of a rank has trained on, one list for each process."""
        found: dict[int, list[str]] = {}
        for line in map(json.loads, self.ledger.read_text().splitlines()):
            if line["rank"] == rank:
                found.setdefault(line["pid"], []).append(line["batch"])
        return list(found.values())


def experiment(folder: Path, **parallel: Any) -> Experiment:
    return parse(
        {
            "name": "digits",
            "data": {
                "name": "digits",
                "limit": 300,
                "augment": [{"name": "ledger_user_code:ledger", "file": str(folder / "ledger.jsonl")}],
            },
            "model": {"name": "mlp", "hidden": [16], "dropout": 0.2},
            "optimizer": {"name": "adam", "lr": 3e-3},
            "training": {"epochs": EPOCHS, "batch_size": 32, "threads": 1},
            "parallel": {"workers": 2, **parallel},
        }
    )


def plan(folder: Path, *, victim: str, rank: int, batch: int) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "accident.json").write_text(json.dumps({"rank": rank, "batch": batch, "victim": victim}))


def run(folder: Path, run_folder: RunFolder | None = None, **parallel: Any) -> Done:
    folder.mkdir(exist_ok=True)
    made = experiment(folder, **parallel)
    where, tracker = run_folder or create(made, "train"), MemoryTracker()
    result = train(where.experiment, where, tracker=tracker, display=Quiet())
    tracker.close()
    return Done(result, where, rows(tracker, where.name), folder / "ledger.jsonl")


def rows(tracker: MemoryTracker, name: str) -> dict[tuple[str, int], float]:
    """Metrics that don't measure time; each is there once."""
    found = [(row.key, row.step) for row in tracker.runs[name].rows]
    assert len(found) == len(set(found))
    return {(row.key, row.step): row.value for row in tracker.runs[name].rows if row.key not in TIMED}


@pytest.fixture(scope="module")
def undisturbed(nodes: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The same run, left alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return run(folder)


def check_same(done: Done, expected: Done, *, killed_at: int, begun_again_at: int) -> None:
    """The laws of a run that was cut and went on: same weights, same record, no batch too many."""
    assert done.result.model_sha256 == expected.result.model_sha256
    assert done.rows == expected.rows
    assert done.result.epochs == EPOCHS
    steps = [line["step"] for line in history(done.folder)]
    assert steps == [BATCHES * epoch for epoch in range(1, EPOCHS + 1)]
    for rank in (0, 1):
        (whole,) = expected.batches(rank)
        assert len(whole) == EPOCHS * BATCHES
        before, after = done.batches(rank)
        assert before == whole[: len(before)]
        assert killed_at - 1 <= len(before) <= killed_at
        assert after == whole[begun_again_at:]


def history(folder: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder.path / "history.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_worker(nodes: Cluster, undisturbed: Done, tmp_path: Path, rank: int) -> None:
    """In the middle of the third epoch: the first two are not trained again, the third is, once."""
    plan(tmp_path / "run", victim="worker", rank=rank, batch=2 * BATCHES + 5)
    done = run(tmp_path / "run")
    check_same(done, undisturbed, killed_at=2 * BATCHES + 5, begun_again_at=2 * BATCHES)
    assert len(done.result.faults) == 1
    assert f"rank {rank} lost" in done.result.faults[0]
    assert state(done.folder.path) == "ended"


def test_a_run_that_was_given_up_goes_on_by_hand(nodes: Cluster, undisturbed: Done, tmp_path: Path) -> None:
    plan(tmp_path / "run", victim="worker", rank=1, batch=BATCHES + 2)
    where = create(experiment(make(tmp_path / "run"), max_failures=0), "train")
    with pytest.raises(RunError, match=rf"rank 1 lost.*max_failures, 0, allows.*nnray resume {where.name}"):
        run(tmp_path / "run", where)
    assert state(where.path) == "resumable"
    done = run(tmp_path / "run", where)
    check_same(done, undisturbed, killed_at=BATCHES + 2, begun_again_at=BATCHES)


def test_a_run_goes_on_with_another_number_of_workers(nodes: Cluster, tmp_path: Path) -> None:
    """Killed with two and resumed with one: each example once an epoch, whoever is there."""
    plan(tmp_path / "run", victim="worker", rank=1, batch=BATCHES + 2)
    where = create(experiment(make(tmp_path / "run"), max_failures=0), "train")
    with pytest.raises(RunError):
        run(tmp_path / "run", where)
    where.reconfigure(experiment(tmp_path / "run", workers=1))
    done = run(tmp_path / "run", where)
    first, after = done.batches(0)
    assert len(first) == BATCHES + 2
    assert len(after) == (EPOCHS - 1) * BATCHES
    assert [line["step"] for line in history(where)] == [BATCHES * e for e in range(1, EPOCHS + 1)]
    assert {step for name, step in done.rows if name == "val_loss"} == set(range(1, EPOCHS + 1))


def test_a_killed_raylet(nodes: Cluster, undisturbed: Done, tmp_path: Path) -> None:
    """A whole node is gone: its worker is started on the third one."""
    alive = num_alive()
    plan(tmp_path / "run", victim="raylet", rank=1, batch=2 * BATCHES + 5)
    done = run(tmp_path / "run")
    check_same(done, undisturbed, killed_at=2 * BATCHES + 5, begun_again_at=2 * BATCHES)
    assert num_alive() == alive - 1
    assert "rank 1 lost" in done.result.faults[0]


def test_an_elastic_run_goes_on_with_fewer(nodes: Cluster, tmp_path: Path) -> None:
    """No node is left to take the lost one's place."""
    while num_alive() > 3:  # the head, and two nodes that train
        nodes.remove_node(nodes.worker_nodes.copy().pop())
    plan(tmp_path / "run", victim="raylet", rank=1, batch=BATCHES + 5)
    done = run(tmp_path / "run", min_workers=1)
    assert num_alive() == 2
    sizes = {line["size"] for line in map(json.loads, done.ledger.read_text().splitlines())}
    assert sizes == {"2", "1"}
    _, after = done.batches(0)
    assert len(after) == (EPOCHS - 1) * BATCHES
    assert done.result.epochs == EPOCHS


def test_what_can_never_be_placed_is_refused_at_once(nodes: Cluster, tmp_path: Path) -> None:
    for asked in ({"workers": 50}, {"cpus_per_worker": 2}, {"gpus_per_worker": 1}):
        where = create(experiment(make(tmp_path / "run"), **asked), "train")
        with pytest.raises(ClusterError, match=r"asked for.*lower parallel\.workers"):
            run(tmp_path / "run", where)
        assert not where.path.exists()


def num_alive() -> int:
    return sum(node["Alive"] for node in ray.nodes())  # type: ignore[no-untyped-call]


def make(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder
