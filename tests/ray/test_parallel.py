"""Data-parallel training on Ray Train: the result of one process, recorded once; stopped and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml

from nnray.config import Experiment, parse
from nnray.errors import ConfigError, DivergedError, RunError
from nnray.runners import local, parallel
from nnray.runners.cluster import Cluster
from nnray.runners.display import Quiet
from nnray.runners.folder import RunFolder, create, last, state
from nnray.runners.results import RunResult
from nnray.runners.training import chosen_model
from nnray.tracking import MemoryTracker

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # Ray Data's own, of its own settings
]
USER_CODE = Path(__file__).parent / "user_code"
TIMED = ("samples_per_s", "epoch_seconds")
VALUES: dict[str, Any] = {
    "name": "digits",
    "data": {"name": "digits", "limit": 300},
    "model": {"name": "mlp", "hidden": [16]},
    "optimizer": {"name": "adam", "lr": 3e-3},
    "training": {"epochs": 3, "batch_size": 32, "threads": 1, "ema_decay": 0.9},
}


def run(experiment: Experiment) -> tuple[RunResult, RunFolder, Mapping[tuple[str, int], float]]:
    """Train, and give what was recorded but for what measures time; each metric is there once."""
    folder, tracker = create(experiment, "train"), MemoryTracker()
    train = local.train if experiment.parallel is None else parallel.train
    result = train(experiment, folder, tracker=tracker, display=Quiet())
    tracker.close()
    rows = tracker.runs[folder.name].rows
    assert len(rows) == len({(row.key, row.step) for row in rows})
    return result, folder, {(row.key, row.step): row.value for row in rows if row.key not in TIMED}


def test_two_workers_come_to_what_one_process_comes_to(cluster: Cluster) -> None:
    alone, his_folder, his_rows = run(parse(VALUES))
    together, folder, rows = run(parse({**VALUES, "parallel": {"workers": 2}}))
    assert together.epochs == alone.epochs
    assert together.faults == []
    assert rows == pytest.approx(his_rows, rel=1e-4, abs=1e-5)
    models = [chosen_model(f.experiment, f.path, splits=_splits()) for f in (folder, his_folder)]
    (mine, epoch), (his, his_epoch) = models
    assert epoch == his_epoch
    torch.testing.assert_close(mine.state_dict(), his.state_dict(), rtol=1e-5, atol=1e-5)


def _splits() -> Any:
    from nnray.assembly import load_data

    return load_data(parse(VALUES))


def test_storage_elsewhere_holds_checkpoints_and_history(cluster: Cluster, tmp_path: Path) -> None:
    storage = tmp_path / "shared"
    made = parse({**VALUES, "parallel": {"workers": 1, "storage": f"file://{storage}"}})
    result, folder, _ = run(made)
    there = storage / folder.name
    assert len((there / "history.jsonl").read_text().splitlines()) == result.epochs == 3
    assert sorted(path.name for path in (there / "checkpoints").glob("epoch-*"))
    assert not (folder.path / "checkpoints").exists()


def test_a_mistake_in_ones_own_code_ends_the_run_at_once(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would come again however often workers were started anew."""
    monkeypatch.setattr(sys, "path", [str(USER_CODE), *sys.path])
    made = parse({**VALUES, "model": "parallel_user_code:mistaken", "parallel": {"workers": 2}})
    folder, tracker = create(made, "train"), MemoryTracker()
    with pytest.raises(RunError, match=r"rank 1 of 2: TypeError: .*parallel_user_code\.py:\d+"):
        parallel.train(made, folder, tracker=tracker, display=Quiet())
    tracker.close()
    assert "faults" not in folder.record
    assert state(folder.path) == "resumable"
    assert tracker.runs[folder.name].status == "FAILED"


def test_a_loss_that_is_not_finite_is_the_same_error_as_in_one_process(cluster: Cluster) -> None:
    made = parse({**VALUES, "optimizer": {"name": "sgd", "lr": 1e20}, "parallel": {"workers": 2}})
    with pytest.raises(DivergedError, match="lower optimizer"):
        run(made)


def test_what_a_worker_finds_wrong_with_the_experiment_is_the_runs_error(cluster: Cluster) -> None:
    made = parse({**VALUES, "training": {"threads": 1000}, "parallel": {"workers": 1}})
    with pytest.raises(ConfigError, match="1000 threads"):
        run(made)


@pytest.mark.faults
def test_ctrl_c_stops_it_and_resume_goes_on(tmp_path: Path) -> None:
    values = {
        **VALUES,
        "training": {"epochs": 200, "batch_size": 32, "threads": 1},
        "parallel": {"workers": 2},
    }
    Path("digits.yaml").write_text(yaml.safe_dump(values))
    nnray = [sys.executable, "-m", "nnray.cli"]
    process = subprocess.Popen(
        [*nnray, "train", "digits.yaml"], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith("epoch 2/"):
            break
    assert process.poll() is None, "".join(seen)
    started = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=280)
    assert process.returncode == 130, err
    assert "nnray resume" in err
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(started, timeout=60)
    assert alive == []
    folder = last(Path("runs"))
    assert state(folder.path) == "resumable"
    done = len((folder.path / "history.jsonl").read_text().splitlines())
    assert 2 <= done < 200
    config = yaml.safe_load((folder.path / "config.yaml").read_text())
    config["training"]["epochs"] = done + 1
    (folder.path / "config.yaml").write_text(yaml.safe_dump(config))
    command = [*nnray, "resume", "--last", "--json", "--quiet"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1])["epochs"] == done + 1
