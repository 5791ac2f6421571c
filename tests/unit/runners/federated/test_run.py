"""A federated run in this process: what it records, where it stops, how it goes on, what goes wrong."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from nnray.errors import CheckpointError, ClientFailure, ConfigError, DataError
from nnray.runners.federated.ending import Ending
from nnray.runners.federated.history import History
from nnray.runners.federated.result import FederatedResult
from nnray.training.storage import LocalFolder
from tests.unit.runners.federated.small import FAULTS, Ran, Told, experiment, ran


def breaks(how: str, *clients: int, **options: Any) -> dict[str, Any]:
    return {"name": f"{FAULTS}breaks", "how": how, "clients": list(clients), **options}


@pytest.fixture(autouse=True)
def plain(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No plots, which take longer than a run: but for the test of what is recorded."""
    if "recorded_with" not in request.node.name:
        monkeypatch.setattr(Ending, "_log_curve", lambda self: None)


EVERYBODY = {"clients": 4, "cohort": 4, "partition": "iid"}


def test_a_run_is_recorded_with_its_model() -> None:
    run, result = ran()
    (key,) = run.tracker.runs
    stored = run.tracker.runs[key]
    assert [record.round for record in run.history] == [1, 2, 3, 4]
    accuracy = [row for row in stored.rows if row.key == "test_accuracy"]
    assert [row.step for row in accuracy] == [1, 2, 3, 4]
    assert accuracy[-1].value == result.metrics["test_accuracy"]
    assert len({(row.key, row.step) for row in stored.rows}) == len(stored.rows)
    assert stored.status == "FINISHED"
    assert result.rounds == 4
    assert (result.clients, result.cohort, result.strategy) == (20, 5, "fedavg")
    assert json.loads((run.folder.path / "result.json").read_text())["model_sha256"] == result.model_sha256
    assert result.model_uri
    assert stored.files["plots/test_accuracy.png"].startswith(b"\x89PNG")


def test_every_round_tells_how_it_went() -> None:
    run, _ = ran()
    wanted = {"cohort", "updates", "failures", "client_steps", "bytes_down", "bytes_up", "train_loss", "lr"}
    for record in run.history:
        assert wanted | {"round_seconds", "train_seconds", "evaluate_seconds"} <= record.metrics.keys()
        assert record.metrics["cohort"] == record.metrics["updates"] == 5
        assert record.metrics["bytes_down"] == record.metrics["bytes_up"] > 0


def test_a_table_tells_what_each_client_contributed() -> None:
    run, _ = ran()
    (stored,) = run.tracker.runs.values()
    rows = list(csv.DictReader(io.StringIO(stored.files["clients.csv"].decode())))
    assert sum(int(row["rounds"]) for row in rows) == 4 * 5
    assert sum(int(row["steps"]) for row in rows) == sum(r.metrics["client_steps"] for r in run.history)
    assert [int(row["client"]) for row in rows] == sorted(int(row["client"]) for row in rows)


def test_the_same_run_again_is_the_same() -> None:
    one, other = ran(), ran()
    assert one[1].model_sha256 == other[1].model_sha256
    assert one[0].measured == other[0].measured


def test_another_seed_is_another_run() -> None:
    assert ran()[1].model_sha256 != ran(seed=1)[1].model_sha256


@pytest.mark.parametrize("strategy", ["fedavg", "scaffold", "fedadam", "feddyn", "local", "central"])
@pytest.mark.parametrize("every", [1, 3])
def test_an_interrupted_run_goes_on_with_the_same_bits(strategy: str, every: int) -> None:
    options = {"strategy": strategy, "checkpoint_every": every, "rounds": 5}
    whole, expected = ran(options)
    run = Ran(experiment(options))
    for after in (2, 4):
        with pytest.raises(KeyboardInterrupt):
            run.go(Told(interrupt_after=after))
        assert run.folder.record["status"] == "interrupted"
    told = Told()
    result = run.go(told)
    if every == 1:
        assert (told.rounds, told.notes[0]) == ([5], "goes on after round 4")
    assert result.model_sha256 == expected.model_sha256
    assert run.measured == whole.measured
    (stored,) = run.tracker.runs.values()
    assert len({(row.key, row.step) for row in stored.rows}) == len(stored.rows)
    if strategy == "scaffold":
        assert len(list((run.folder.path / "clients").iterdir())) > 0


def test_a_run_that_has_ended_gives_its_result_again() -> None:
    run, result = ran()
    assert run.go() == result
    assert isinstance(result, FederatedResult)


def test_it_goes_on_from_the_newest_intact_checkpoint() -> None:
    _, expected = ran()
    run = Ran(experiment())
    with pytest.raises(KeyboardInterrupt):
        run.go(Told(interrupt_after=3))
    newest = max((run.folder.path / "checkpoints").glob("epoch-*/state.pt"))
    newest.write_bytes(newest.read_bytes()[:-7])
    told = Told()
    assert run.go(told).model_sha256 == expected.model_sha256
    assert any("cut or altered" in note for note in told.notes)


def test_a_clients_state_that_was_altered_is_not_used() -> None:
    run = Ran(experiment({"strategy": "scaffold"}))
    with pytest.raises(KeyboardInterrupt):
        run.go(Told(interrupt_after=3))
    for path in (run.folder.path / "clients").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    with pytest.raises(CheckpointError, match="cut or altered"):
        run.go()


def test_files_of_clients_states_don_t_pile_up() -> None:
    run, _ = ran({"strategy": "scaffold", "clients": 6, "cohort": 3, "rounds": 12})
    assert len(list((run.folder.path / "clients").iterdir())) <= 2 * 6
    assert len(list((run.folder.path / "checkpoints").glob("epoch-*"))) <= 2


def test_a_target_is_told_and_may_end_the_run() -> None:
    _, long = ran({"rounds": 30, "target": {"value": 0.5}})
    reached = int(long.metrics["rounds_to_target"])
    run, short = ran({"rounds": 30, "target": {"value": 0.5, "stop": True}})
    assert 1 < reached < 30
    assert short.rounds == reached == len(run.history)
    assert long.rounds == 30
    assert "rounds_to_target" not in ran({"target": {"value": 0.999}})[1].metrics


def test_a_run_that_has_reached_its_target_does_not_go_on() -> None:
    run = Ran(experiment({"rounds": 30, "target": {"value": 0.5, "stop": True}}))
    reached = ran({"rounds": 30, "target": {"value": 0.5, "stop": True}})[1].rounds
    with pytest.raises(KeyboardInterrupt):
        run.go(Told(interrupt_after=reached))
    assert run.go().rounds == reached


@pytest.mark.parametrize(
    ("federated", "fields", "words"),
    [
        (
            {"target": {"metric": "val_auroc", "value": 0.5}},
            {},
            "target.metric.*val_auroc.*there are: .*val_accuracy",
        ),
        (
            {"target": {"metric": "client_accuracy", "value": 0.5}},
            {},
            "client_accuracy' is not measured here",
        ),
        ({}, {"schedule": "plateau"}, "schedule: 'plateau' waits for a loss"),
    ],
)
def test_what_rounds_don_t_measure_is_refused_before_anything_is_recorded(
    federated: dict[str, Any], fields: dict[str, Any], words: str
) -> None:
    run = Ran(experiment(federated, **fields))
    with pytest.raises(ConfigError, match=words):
        run.go()
    assert run.tracker.runs == {}
    assert not run.folder.path.exists()


def test_a_target_may_be_any_metric_of_a_round() -> None:
    for metric, held in (("client_accuracy_worst10", 0.3), ("val_f1_macro", 0.0), ("train_loss", 0.0)):
        _, result = ran({"holdout": held, "target": {"metric": metric, "value": 0.05}, "rounds": 2})
        assert metric in result.metrics


def test_muon_trains_clients_too() -> None:
    run, _ = ran(model={"name": "mlp", "hidden": [16, 16]}, optimizer={"name": "muon", "lr": 0.02})
    assert run.history[-1].metrics["train_loss"] < run.history[0].metrics["train_loss"]


def test_evaluation_may_be_rarer_and_the_last_round_has_one() -> None:
    run, _ = ran({"evaluate_every": 3, "rounds": 5})
    assert [record.round for record in run.history if "test_loss" in record.metrics] == [3, 5]


def test_the_best_round_by_validation_is_logged_beside_the_last() -> None:
    """A rate at which it gets worse again: the best is not the last."""
    run, _ = ran({"rounds": 12}, optimizer={"name": "sgd", "lr": 3.0})
    losses = [record.metrics["val_loss"] for record in run.history]
    best = losses.index(min(losses)) + 1
    assert best < 12
    (stored,) = run.tracker.runs.values()
    assert set(stored.models) == {("model", 12), ("best", best)}


def test_without_validation_nothing_is_best() -> None:
    run, result = ran(data={"name": "digits", "limit": 400, "validation": 0})
    assert not any(name.startswith("val_") for name in result.metrics)
    (stored,) = run.tracker.runs.values()
    assert [name for name, _ in stored.models] == ["model"]


def test_clients_are_evaluated_on_what_they_hold_out() -> None:
    run, result = ran({"holdout": 0.3})
    for name in ("mean", "worst10", "variance", "jain"):
        assert f"client_accuracy_{name}" in result.metrics
    assert 0 <= result.metrics["client_accuracy_worst10"] <= result.metrics["client_accuracy_mean"] <= 1
    examples = sum(ran()[0].history[0].metrics["examples"] for _ in range(1))
    assert run.history[0].metrics["examples"] < examples


def test_central_takes_the_steps_of_a_cohort_on_all_examples() -> None:
    run, result = ran({"strategy": "central", **EVERYBODY})
    federated, _ = ran(EVERYBODY)
    assert run.history[0].metrics["updates"] == 1
    assert run.history[0].metrics["examples"] == federated.history[0].metrics["examples"]
    assert run.history[0].metrics["client_steps"] == federated.history[0].metrics["client_steps"]
    assert result.clients == 4


def test_local_clients_go_on_from_their_own_weights() -> None:
    run, result = ran({"strategy": "local", "rounds": 16, **EVERYBODY})
    assert run.history[-1].metrics["train_loss"] < run.history[0].metrics["train_loss"] / 2
    assert result.metrics["test_accuracy"] > 0.4


def test_the_rate_follows_the_schedule_a_round_a_step() -> None:
    run, _ = ran({"rounds": 4}, schedule={"name": "step", "step_size": 2, "gamma": 0.1})
    assert [record.metrics["lr"] for record in run.history] == pytest.approx([0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("raise", "RuntimeError: the sensor of client 2 is off"),
        ("nan", "not finite"),
        ("shape", "has shape [5]"),
    ],
)
def test_a_client_that_keeps_failing_is_named(how: str, error: str) -> None:
    run = Ran(experiment({**EVERYBODY, "strategy": breaks(how, 2)}))
    with pytest.raises(ClientFailure) as caught:
        run.go()
    assert "round 1: " in str(caught.value)
    assert "client 2: " in str(caught.value)
    assert error in str(caught.value)
    assert run.folder.record["status"] == "failed"
    run.tracker.flush()
    (stored,) = run.tracker.runs.values()
    assert stored.status == "FAILED"
    assert "client 2" in stored.tags["nnray.error"]


def test_a_client_that_fails_once_is_trained_again(tmp_path: Path) -> None:
    _, expected = ran(EVERYBODY)
    run, result = ran({**EVERYBODY, "strategy": breaks("raise", 2, once=str(tmp_path / "once"))})
    assert result.model_sha256 == expected.model_sha256
    assert result.faults == [
        "round 1: client 2: RuntimeError: the sensor of client 2 is off (retried)",
    ]
    assert "Traceback" in run.history[0].failures[0]["trace"]
    assert run.history[0].metrics["failures"] == 1
    (stored,) = run.tracker.runs.values()
    assert "client 2" in stored.tags["nnray.faults"]


def test_a_client_may_be_left_out_if_one_says_so() -> None:
    run, result = ran({**EVERYBODY, "strategy": breaks("nan", 2), "on_client_error": "drop"})
    assert [record.metrics["updates"] for record in run.history] == [3] * 4
    assert len(result.faults) == 4
    with pytest.raises(ClientFailure, match="min_updates is 4"):
        ran({**EVERYBODY, "strategy": breaks("nan", 2), "on_client_error": "drop", "min_updates": 4})


def test_a_cohort_of_nobody_is_a_round_too() -> None:
    run, result = ran({"sampler": "poisson", "cohort": 1, "rounds": 8})
    sizes = [record.metrics["cohort"] for record in run.history]
    assert 0 in sizes
    assert len(set(sizes)) > 1
    assert result.rounds == 8


@pytest.mark.parametrize(
    ("federated", "error", "words"),
    [
        ({"clients": 5000}, DataError, "at most 400"),
        ({"partition": "natural", "clients": None}, DataError, "doesn't tell"),
        ({"strategy": "scaffold", "optimizer": "adam"}, ConfigError, "SGD"),
        ({"deadline_s": 3.0}, ConfigError, "needs workers"),
        ({"strategy": "fedopt"}, ConfigError, "server_optimizer: is missing"),
    ],
)
def test_what_is_not_possible_is_said_before_anything_is_recorded(
    federated: dict[str, Any], error: type[Exception], words: str
) -> None:
    fields = {"optimizer": {"name": federated.pop("optimizer")}} if "optimizer" in federated else {}
    run = Ran(experiment(federated, **fields))
    with pytest.raises(error, match=words):
        run.go()
    assert run.tracker.runs == {}
    assert not run.folder.path.exists()


def test_a_history_is_written_once(tmp_path: Path) -> None:
    history = History(LocalFolder(tmp_path))
    first = history.record(1, {"test_loss": 0.5}, faults=[])
    assert History(LocalFolder(tmp_path)).record(1, {"test_loss": 9.0}, faults=[]) == first
