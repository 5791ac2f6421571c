"""What a page says of a sweep; nothing is trained for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nnray.config import dump
from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.runners.folder import RunFolder, create
from nnray.runners.report.local import of_folder
from nnray.runners.report.stored import of_store
from nnray.runners.report.trials import importance_of
from nnray.runners.report.write import render
from nnray.runners.sweep.findings import importance
from nnray.runners.sweep.record import Record
from nnray.tracking import MlflowTracker
from nnray.tracking.archive import Archive
from tests.unit.sweep.bench import Bench, make_experiment

INFO = DataInfo("digits", (1, 8, 8), tuple("0123456789"), (0.5,), (0.2,), "digest")


def swept(**sweep: Any) -> tuple[RunFolder, Bench]:
    """The folder of a sweep, and what has run it."""
    experiment = make_experiment(**{"trials": 14, "search": "random", **sweep})
    run = create(experiment, "sweep")
    live = Bench(experiment, run.path)
    live.begin()
    live.run(concurrency=2)
    return run, live


def test_all_trials_are_in_the_table_best_first() -> None:
    run, live = swept(scheduler="asha")
    html = render(of_folder(run))
    table = html[html.index("Best first") :]
    places = [
        table.index(f'data-v="{trial.number}.0">{trial.number}</td><td>') for trial in live.ledger.ranked
    ]
    assert places == sorted(places)
    assert table.count("<td>pruned</td>") == live.ledger.counts["pruned"]


def test_failures_edges_and_savings_are_said() -> None:
    run, live = swept(scheduler="asha", trials=40)
    html = render(of_folder(run))
    assert live.ledger.counts["failed"]
    assert f"{live.ledger.counts['failed']} failed: val_accuracy is nan" in html
    assert "by stopping early" in html


def test_importance_is_that_of_the_study() -> None:
    _, live = swept(scheduler="asha")
    assert importance_of(live.experiment, live.ledger) == pytest.approx(importance(live.study.with_pruned()))


def test_choices_conditions_and_objectives_have_their_place() -> None:
    space = {
        "optimizer.lr": {"loguniform": [1e-4, 1e-1]},
        "model.hidden": {"choice": [[8], [16], [8, 8]]},
    }
    run, _ = swept(space=space, objectives=["val_loss"])
    html = render(of_folder(run))
    assert "[8, 8]" in html
    assert ">val_loss</button>" in html


def test_a_sweep_without_a_trial_has_a_page() -> None:
    run = create(make_experiment(), "sweep")
    assert "No trial has begun" in render(of_folder(run))


def test_a_single_trial_has_a_page() -> None:
    run, _ = swept(trials=1)
    html = render(of_folder(run))
    assert "<h2>Search</h2>" in html
    assert "Parallel coordinates" not in html


def test_the_store_alone_tells_the_same_of_trials(tmp_path: Path) -> None:
    import torch

    experiment = make_experiment(trials=6, scheduler="asha", search="random")
    examples = Examples(torch.rand(4, 1, 8, 8), torch.arange(4))
    run, uri = create(experiment, "sweep"), f"sqlite:///{tmp_path}/mlflow.db"
    live, tracker = Bench(experiment, run.path), MlflowTracker(uri, experiment="tiny")
    (tmp_path / "config.yaml").write_text(dump(experiment))
    tracker.start_run(name="sweep", verb="sweep", key="run")
    tracker.log_artifact("run", tmp_path / "config.yaml")
    splits = DataSplits(examples, examples, None, INFO)
    live.conductor._listeners += (
        Record(tracker, experiment, run="run", ledger=live.ledger, splits=splits, tags={}),
    )
    live.begin()
    live.run(concurrency=2)
    tracker.end_run("run")
    assert tracker.close(60.0) == 0
    archive = Archive(uri)
    far = of_store(archive, archive.run("run"))
    assert far.ledger is not None
    near = live.ledger.trials
    assert far.ledger.counts == live.ledger.counts
    assert {n: t.values for n, t in far.ledger.trials.items()} == {n: t.values for n, t in near.items()}
    assert {n: t.params for n, t in far.ledger.trials.items()} == {n: t.params for n, t in near.items()}
    assert [t.number for t in far.ledger.ranked] == [t.number for t in live.ledger.ranked]
    assert "<h2>Trials</h2>" in render(far)
