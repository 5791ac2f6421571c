"""Laws that every tracker obeys: in memory, and MLflow on SQLite, also behind a spool on disk."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nnray.data.splits import DataInfo
from nnray.errors import TrackingError
from nnray.tracking import MetricRow, Tracker
from nnray.training.weights import weights_sha256
from tests.contract.tracker_subjects import Memory, Spooled, Sqlite, Subject

LONG_S = 120.0
INFO = DataInfo("digits", (1, 2, 2), ("zero", "one", "two"), digest="d" * 64)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data base with MLflow's tables in it: making one takes a second."""
    from nnray.tracking.client import make_client

    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    make_client(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture(params=["memory", "mlflow", "spooled"])
def subject(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Subject]:
    if request.param == "memory":
        yield Memory()
        return
    shutil.copy(request.getfixturevalue("empty_store"), tmp_path / "mlflow.db")
    yield {"mlflow": Sqlite, "spooled": Spooled}[request.param](tmp_path, monkeypatch)


@pytest.fixture
def open_one(subject: Subject) -> Iterator[Callable[[], Tracker]]:
    opened: list[Tracker] = []

    def one() -> Tracker:
        opened.append(subject.open())
        return opened[-1]

    yield one
    for tracker in opened:
        tracker.close(LONG_S)


@pytest.fixture
def tracker(open_one: Callable[[], Tracker]) -> Tracker:
    return open_one()


def stored(tracker: Tracker, run: str) -> str:
    """The run's id, once all that was sent is stored."""
    run_id = tracker.run_id(run, LONG_S)
    assert run_id is not None, tracker.problems()
    assert tracker.flush(LONG_S) == 0
    return run_id


def net(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3)
        )


EXAMPLE = np.zeros((2, 1, 2, 2), np.float32)


def test_what_a_run_was_given_is_what_the_store_has(
    subject: Subject, tracker: Tracker, tmp_path: Path
) -> None:
    run = tracker.start_run(
        name="one", verb="train", key="one-1", params={"optimizer.lr": 0.1}, tags={"who": "me"}, time_ms=1_000
    )
    tracker.log_params(run, {"model.name": "mlp"})
    tracker.set_tags(run, {"who": "you"})
    tracker.log_metrics(run, [MetricRow("loss", 0.5, 1, 1_500), MetricRow("loss", 0.25, 2, 1_600)])
    (tmp_path / "config.yaml").write_text("a: 1\n")
    tracker.log_artifact(run, tmp_path / "config.yaml", "inputs")
    tracker.log_text(run, "hello", "notes/note.txt")
    tracker.log_json(run, {"b": 2}, "b.json")
    tracker.log_dataset(run, INFO, "training", num_examples=100)
    tracker.end_run(run, time_ms=2_000)
    read = subject.read(stored(tracker, run))
    assert (read.name, read.status, read.start_ms, read.end_ms) == ("one", "FINISHED", 1_000, 2_000)
    assert read.params == {"optimizer.lr": "0.1", "model.name": "mlp"}
    assert read.tags.items() >= {"who": "you", "nnray.run": "one-1", "nnray.verb": "train"}.items()
    assert read.history == {"loss": [(1, 1_500, 0.5), (2, 1_600, 0.25)]}
    assert read.files == {
        "inputs/config.yaml": b"a: 1\n",
        "notes/note.txt": b"hello",
        "b.json": b'{\n  "b": 2\n}\n',
    }
    assert read.datasets == [("digits", "training")]
    assert tracker.problems() == ()


def test_the_same_rows_sent_again_are_stored_once(subject: Subject, tracker: Tracker) -> None:
    run = tracker.start_run(name="one", verb="train")
    rows = [MetricRow("loss", v, i, 10 + i) for i, v in enumerate([0.5, math.nan, math.inf, -math.inf])]
    for _ in range(3):
        tracker.log_metrics(run, rows)
        assert tracker.flush(LONG_S) == 0
    history = subject.read(stored(tracker, run)).history
    assert [(step, time) for step, time, _ in history["loss"]] == [(0, 10), (1, 11), (2, 12), (3, 13)]


def test_values_that_are_not_finite_are_told_apart_by_a_flag(subject: Subject, tracker: Tracker) -> None:
    run = tracker.start_run(name="one", verb="train")
    tracker.log_metrics(run, [MetricRow("loss", v, i, 9) for i, v in enumerate([math.nan, 1.0, math.inf])])
    history = subject.read(stored(tracker, run)).history
    assert history["loss_not_finite"] == [(0, 9, 1.0), (2, 9, 1.0)]
    assert len(history["loss"]) == 3


def test_a_run_started_again_is_the_same_run(subject: Subject, open_one: Callable[[], Tracker]) -> None:
    first = open_one()
    run = first.start_run(name="one", verb="train", params={"lr": 0.1})
    first.log_metrics(run, [MetricRow("loss", 1.0, 1, 5)])
    first.end_run(run, "KILLED")
    before = stored(first, run)
    assert subject.read(before).status == "KILLED"
    again = open_one()
    assert again.start_run(name="one", verb="train", params={"lr": 0.1}) == run
    again.log_metrics(run, [MetricRow("loss", 1.0, 1, 5), MetricRow("loss", 0.5, 2, 6)])
    assert stored(again, run) == before
    read = subject.read(before)
    assert read.status == "RUNNING"
    assert read.history["loss"] == [(1, 5, 1.0), (2, 6, 0.5)]
    assert subject.num_runs() == 1
    assert again.problems() == ()


def test_a_run_is_resumed_by_its_key_alone(subject: Subject, open_one: Callable[[], Tracker]) -> None:
    first = open_one()
    run = first.start_run(name="one", verb="train")
    first.end_run(run, "FAILED")
    before = stored(first, run)
    later = open_one()
    later.resume_run(run)
    assert stored(later, run) == before
    assert subject.read(before).status == "RUNNING"


def test_trials_are_nested_in_their_sweep(subject: Subject, tracker: Tracker) -> None:
    sweep = tracker.start_run(name="s", verb="sweep")
    trials = [tracker.start_run(name=f"trial {i}", verb="trial", parent=sweep) for i in range(3)]
    assert len({*trials, sweep}) == 4
    for trial in trials:
        read = subject.read(stored(tracker, trial))
        assert read.parent == sweep
        assert read.tags["nnray.verb"] == "trial"
    assert subject.num_runs() == 4


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_a_run_ends_as_it_ended(subject: Subject, tracker: Tracker, status: Any) -> None:
    run = tracker.start_run(name="one", verb="train")
    tracker.end_run(run, status)
    assert subject.read(stored(tracker, run)).status == status


def test_a_record_of_a_run_that_was_never_started_is_refused_by_name(
    subject: Subject, tracker: Tracker
) -> None:
    known = tracker.start_run(name="known", verb="train")
    tracker.log_params("nobody", {"a": 1})
    tracker.log_params(known, {"a": 1})
    assert subject.read(stored(tracker, known)).params == {"a": "1"}
    assert any("nobody" in problem for problem in tracker.problems())
    assert tracker.run_id("nobody", LONG_S) is None


def test_a_parameter_keeps_its_first_value_and_the_attempt_is_named(
    subject: Subject, tracker: Tracker
) -> None:
    run = tracker.start_run(name="one", verb="train", params={"lr": 0.1})
    tracker.log_params(run, {"lr": 0.2})
    assert subject.read(stored(tracker, run)).params == {"lr": "0.1"}
    assert any("lr" in problem for problem in tracker.problems())


def test_a_file_that_has_gone_is_named_and_holds_up_nothing(
    subject: Subject, tracker: Tracker, tmp_path: Path
) -> None:
    run = tracker.start_run(name="one", verb="train")
    tracker.log_artifact(run, tmp_path / "gone.html")
    tracker.log_text(run, "here", "here.txt")
    assert subject.read(stored(tracker, run)).files == {"here.txt": b"here"}
    assert any("gone.html" in problem for problem in tracker.problems())


def test_odd_names_and_long_values_are_taken(subject: Subject, tracker: Tracker) -> None:
    run = tracker.start_run(name="one", verb="train", params={f"p{i}": "x" * 7_000 for i in range(120)})
    tracker.log_metrics(run, [MetricRow("f1_50% off/../é", 1.0, 1, 5)])
    tracker.set_tags(run, {"error": "y" * 10_000})
    read = subject.read(stored(tracker, run))
    assert len(read.params) == 120
    assert set(read.history) == {"f1_50_ off/é"}
    assert read.tags["error"].startswith("yyy")
    assert tracker.problems() == ()


@pytest.mark.parametrize("key", ["it's", 'say "x"', "both ' and \"", "100%", "a`b", "a\\b", "größe"])
def test_any_key_finds_its_run_again(subject: Subject, open_one: Callable[[], Tracker], key: str) -> None:
    first, second = open_one(), open_one()
    ids = {
        stored(tracker, tracker.start_run(name="one", verb="train", key=key)) for tracker in (first, second)
    }
    assert len(ids) == 1
    assert first.problems() == second.problems() == ()


def test_a_logged_model_predicts_as_the_module_at_any_batch_size(subject: Subject, tracker: Tracker) -> None:
    run = tracker.start_run(name="one", verb="train")
    module = net().train()
    tracker.log_metrics(run, [MetricRow("val_loss", 0.5, 3, 77)])
    future = tracker.log_model(
        run,
        module=module,
        example=EXAMPLE,
        step=3,
        sha256=weights_sha256(module),
        metrics={"val_loss": 0.5},
        params={"lr": 0.1},
    )
    with torch.no_grad():
        expected = net().eval()
        for parameter in module.parameters():
            parameter.zero_()
    record = future.result(LONG_S)
    assert record.sha256 == weights_sha256(expected)
    for batch in (1, 7):
        inputs = np.random.default_rng(batch).random((batch, 1, 2, 2), np.float32)
        outputs = expected(torch.from_numpy(inputs)).detach().numpy()
        np.testing.assert_allclose(subject.predict(record.uri, inputs), outputs, rtol=1e-5, atol=1e-6)
    assert module.training
    assert subject.read(stored(tracker, run)).history == {"val_loss": [(3, 77, 0.5)]}
    assert tracker.problems() == ()


def test_a_model_is_logged_once_for_a_run_name_and_step(open_one: Callable[[], Tracker]) -> None:
    records = set()
    for _ in range(2):
        tracker = open_one()
        run = tracker.start_run(name="one", verb="train")
        for _ in range(2):
            records.add(tracker.log_model(run, module=net(), example=EXAMPLE, step=1).result(LONG_S))
    assert len(records) == 1
    other = tracker.log_model(run, module=net(), example=EXAMPLE, step=2).result(LONG_S)
    assert other not in records


def test_the_alias_points_at_the_model_and_no_version_is_made_twice(
    subject: Subject, tracker: Tracker
) -> None:
    run = tracker.start_run(name="one", verb="train")
    old = tracker.log_model(run, module=net(1), example=EXAMPLE, step=1)
    new = tracker.log_model(run, module=net(2), example=EXAMPLE, step=2)
    assert [tracker.register(run, "digits", step=1).result(LONG_S) for _ in range(2)] == ["1", "1"]
    assert subject.alias("digits", "champion") == (old.result(LONG_S).uri, 1)
    assert [tracker.register(run, "digits").result(LONG_S) for _ in range(2)] == ["2", "2"]
    assert subject.alias("digits", "champion") == (new.result(LONG_S).uri, 2)


def test_an_alias_that_is_not_to_move_goes_to_the_first_alone(subject: Subject, tracker: Tracker) -> None:
    run = tracker.start_run(name="one", verb="train")
    old = tracker.log_model(run, module=net(1), example=EXAMPLE, step=1)
    tracker.log_model(run, module=net(2), example=EXAMPLE, step=2)
    for step in (1, 2, 1, 2):
        tracker.register(run, "digits", step=step, moves=False).result(LONG_S)
    assert subject.alias("digits", "champion")[0] == old.result(LONG_S).uri
    tracker.register(run, "digits", step=2, alias="other", moves=False).result(LONG_S)
    assert subject.alias("digits", "other")[0] != old.result(LONG_S).uri


def test_registering_what_was_never_logged_says_so(tracker: Tracker) -> None:
    run = tracker.start_run(name="one", verb="train")
    with pytest.raises(TrackingError, match="no model 'model' to register"):
        tracker.register(run, "digits").result(LONG_S)
