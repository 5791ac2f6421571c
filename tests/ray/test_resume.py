"""Sweeps that go on: extended, begun from an earlier one, taken up after a stop; populations on workers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nnray.config import Experiment, parse, with_overrides
from nnray.errors import RunError
from nnray.runners.cluster import Cluster
from nnray.runners.folder import RunFolder, create
from nnray.runners.sweep import SweepResult, sweep
from nnray.runners.sweep.extend import extend
from nnray.runners.sweep.journal import Journal
from nnray.runners.sweep.ledger import Ledger
from nnray.runners.sweep.warm import WARM, gather
from nnray.tracking import MemoryTracker
from tests.ray.conftest import Swept, make_experiment

pytestmark = pytest.mark.ray
RunSweep = Callable[..., Swept]


def go_on(folder: RunFolder, tracker: MemoryTracker) -> SweepResult:
    """What `nnray resume` does."""
    return sweep(folder.experiment, folder, tracker=tracker, quiet=True)


def ledger_of(folder: RunFolder) -> Ledger:
    return Ledger("max", events=Journal(folder.path / "journal.jsonl").events())


def test_a_finished_sweep_gives_its_result_again(run_sweep: RunSweep) -> None:
    swept = run_sweep(sweep={"trials": 2})
    before = (swept.folder.path / "journal.jsonl").read_bytes()
    again = go_on(swept.folder, MemoryTracker())
    assert again.to_dict() == swept.result.to_dict()
    assert (swept.folder.path / "journal.jsonl").read_bytes() == before


def test_a_finished_sweep_is_extended(cluster: Cluster) -> None:
    experiment = make_experiment(sweep={"trials": 2, "scheduler": "none"})
    folder, tracker = create(experiment, "sweep"), MemoryTracker()
    first = sweep(experiment, folder, tracker=tracker, quiet=True)
    before = dict(ledger_of(folder).trials)
    extend(folder, "+2")
    second = go_on(folder, tracker)
    tracker.flush()
    after = ledger_of(folder).trials
    assert (first.trials, second.trials) == ({"finished": 2}, {"finished": 4})
    assert {number: after[number] for number in before} == before
    assert second.best_value >= first.best_value
    looks = tracker.runs[folder.name].history("test_accuracy")
    assert [step for step, _ in looks] == [0, 1]
    assert tracker.runs[folder.name].status == "FINISHED"
    assert len(tracker.runs) == 5


def test_what_is_no_extension_is_refused(run_sweep: RunSweep) -> None:
    swept = run_sweep(sweep={"trials": 2, "search": "random"}, training={"epochs": 1})
    for trials in ("1", "2", "+0", "many", "-3", "1.5"):
        with pytest.raises(RunError) as caught:
            extend(swept.folder, trials)
        assert str(caught.value).startswith(f"--trials {trials}: ")
    assert swept.folder.result is not None


def test_a_sweep_begins_from_an_earlier_one(run_sweep: RunSweep) -> None:
    earlier = run_sweep(sweep={"trials": 4, "scheduler": "none"})
    later = make_experiment(sweep={"trials": 2, "scheduler": "none"}, seed=1)
    found = gather(earlier.folder, later)
    assert (found["run"], len(found["trials"])) == (earlier.folder.name, 4)
    folder, tracker = create(later, "sweep", files={WARM: found}), MemoryTracker()
    result = sweep(later, folder, tracker=tracker, quiet=True)
    tracker.close()
    assert result.trials == {"finished": 2}
    study = [json.loads(line) for line in (folder.path / "study.journal").read_text().splitlines()]
    begun = [line for line in study if line["op_code"] == 4]  # Optuna's number for a new trial
    assert len(begun) == 4 + 2
    assert sorted(ledger_of(folder).trials) == [0, 1]


def test_an_earlier_sweep_must_have_something_to_give(run_sweep: RunSweep) -> None:
    earlier = run_sweep(sweep={"trials": 2, "scheduler": "none"})
    space = {"optimizer.lr": {"loguniform": [1e-9, 1e-8]}}
    with pytest.raises(RunError, match="none of the 2 trials"):
        gather(earlier.folder, make_experiment(sweep={"space": space}))


def test_a_population_trains_on_with_the_weights_it_took(cluster: Cluster) -> None:
    """With one worker and with two: the same lineage, and the same model."""
    pbt = {"name": "pbt", "interval": 1, "quantile": 0.5}
    results = []
    for concurrency in (1, 2):
        experiment = make_experiment(
            sweep={"trials": 4, "scheduler": pbt, "search": "random", "concurrency": concurrency},
            training={"epochs": 4},
        )
        folder, tracker = create(experiment, "sweep"), MemoryTracker()
        result = sweep(experiment, folder, tracker=tracker, quiet=True)
        tracker.close()
        trials = ledger_of(folder).trials.values()
        lineage = [[(turn.epoch, turn.source, dict(turn.params)) for turn in t.lineage] for t in trials]
        assert any(source is not None for turns in lineage for _, source, _ in turns)
        tagged = tracker.runs[f"{folder.name}/0000"].tags["nnray.lineage"]
        assert [turn["epoch"] for turn in json.loads(tagged)] == [1, 2, 3]
        results.append((lineage, result.model_sha256, [t.values for t in trials]))
    assert results[0] == results[1]


def test_measures_are_taken_once_a_trial(run_sweep: RunSweep) -> None:
    swept = run_sweep(
        sweep={
            "space": {"model.hidden": {"choice": [[4], [16]]}},
            "objectives": ["parameters", "latency_ms"],
            "search": "grid",
            "trials": None,
        }
    )
    assert swept.result.trials == {"finished": 2}
    trials = Ledger(
        "max",
        objectives={"parameters": "min", "latency_ms": "min"},
        events=Journal(swept.folder.path / "journal.jsonl").events(),
    ).trials.values()
    sizes = {trial.params["model.hidden"][0]: trial.objectives["parameters"] for trial in trials}
    assert sizes == {4: 64 * 4 + 4 + 4 * 10 + 10, 16: 64 * 16 + 16 + 16 * 10 + 10}
    for run in (run for run in swept.tracker.runs.values() if run.parent):
        assert len({value for _, value in run.history("latency_ms")}) == 1
        assert run.history("system/cpu_utilization_percentage")
    assert {point["trial"] for point in swept.result.front} <= {0, 1}


def test_no_trial_that_breaks_a_constraint_is_crowned(run_sweep: RunSweep) -> None:
    space = {"model.hidden": {"choice": [[4], [16]]}}
    swept = run_sweep(
        sweep={"space": space, "search": "grid", "trials": None, "constraints": ["parameters < 500"]}
    )
    assert swept.result.params == {"model.hidden": [4]}
    with pytest.raises(RunError, match="no trial meets the constraints parameters < 5"):
        run_sweep(sweep={"space": space, "search": "grid", "trials": None, "constraints": ["parameters < 5"]})


def test_a_folder_from_a_stranger_is_read_without_unpickling(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its journal is JSON, its weights are checked, and its study is not read at all."""
    experiment: Experiment = with_overrides(parse(TINY), {"sweep.trials": 2})
    folder, tracker = create(experiment, "sweep"), MemoryTracker()
    sweep(experiment, folder, tracker=tracker, quiet=True)
    bomb = b"cos\nsystem\n(S'touch " + str(tmp_path / "bomb").encode() + b"'\ntR."
    best = ledger_of(folder).best
    assert best is not None
    worse = f"trials/{1 - best.number:04d}"
    for name in (
        "study.journal",
        f"{worse}/model.safetensors",
        f"{worse}/checkpoints/epoch-000001/state.pt",
    ):
        (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.path / name).write_bytes(bomb)
    extend(folder, "+1")
    result = go_on(folder, tracker)
    tracker.close()
    assert sum(result.trials.values()) == 3
    assert not (tmp_path / "bomb").exists()


def test_a_damaged_model_of_the_best_trial_is_told(cluster: Cluster) -> None:
    experiment = parse(TINY)
    folder, tracker = create(experiment, "sweep"), MemoryTracker()
    sweep(experiment, folder, tracker=tracker, quiet=True)
    for path in folder.path.glob("trials/*/model.safetensors"):
        path.write_bytes(path.read_bytes()[:40])
    folder.reopen(experiment)
    with pytest.raises(RunError, match=r"the model of trial \d can't be read from"):
        go_on(folder, tracker)
    tracker.close()


TINY = {
    "name": "tiny",
    "data": {"name": "digits", "limit": 200},
    "model": {"name": "mlp", "hidden": [8]},
    "training": {"epochs": 1, "threads": 1},
    "sweep": {"space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}}, "trials": 2, "scheduler": "none"},
}
