"""Federating, looking at clients, and comparing, as a person types it; all in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import nnray as package
from nnray.errors import ClientFailure, RunError
from tests.unit.cli_calls import Nnray, caller
from tests.unit.runners.federated_runs import course, write_run

FILE = """
name: digits
data: {name: digits, limit: 200}
model: {name: mlp, hidden: [8]}
optimizer: {name: sgd, lr: 0.1}
training: {epochs: 1}
federated: {clients: 10, cohort: 4, rounds: 2, workers: 0}
"""


@pytest.fixture
def nnray(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Nnray:
    """Run a command; exit code, stdout and stderr come back."""
    Path("f.yaml").write_text(FILE)
    return caller(monkeypatch, capsys)


def test_a_federated_run_is_an_ordinary_run(nnray: Nnray) -> None:
    code, out, err = nnray("federate", "f.yaml", "--json", "--once", "mine")
    assert code == 0, err
    (line,) = out.splitlines()
    result = json.loads(line)
    assert (result["verb"], result["rounds"], result["clients"], result["cohort"]) == ("federate", 2, 10, 4)
    assert result["metrics"]["test_accuracy"] > 0
    assert "epochs" not in result
    assert "round 2/2  test_accuracy" in err
    for again in (("federate", "f.yaml", "--once", "mine"), ("resume", "--last")):
        assert json.loads(nnray(*again, "--json", "--quiet")[1]) == result
    assert len(list(Path("runs").glob("digits-federate-*"))) == 1
    code, _, err = nnray("resume", "--last", "--trials", "+2")
    assert code == 2
    assert "is a federate: only a sweep has trials" in err


def test_the_functions_are_the_verbs(nnray: Nnray) -> None:
    made = [package.federate("f.yaml", [f"seed={seed}"], quiet=True) for seed in (0, 1)]
    assert isinstance(made[0], package.FederatedResult)
    compared = package.compare([one.folder for one in made], out="drawn")
    assert [curve.label for curve in compared.curves] == ["seed 0", "seed 1"]
    assert compared.curves[0].values[-1] == made[0].metrics["test_accuracy"]
    by_id = package.compare([one.run_id for one in made], out="drawn")
    assert by_id.rows == compared.rows


def test_a_report_trains_nothing(nnray: Nnray) -> None:
    shards = ("f.yaml", "--report-partition", "federated.partition=shards")
    code, out, err = nnray("federate", *shards)
    assert code == 0, err
    assert "partition shards\n10 clients, 200 examples" in out
    assert [path.name for path in Path("runs").iterdir()] == ["digits-partition"]
    code, out, _ = nnray("federate", *shards, "--json", "--out", "there")
    assert code == 0
    assert json.loads(out)["png"] == "there/partition.png"
    assert {path.name for path in Path("there").iterdir()} == {"partition.png", "partition.csv"}


def test_runs_are_compared(nnray: Nnray) -> None:
    runs = [write_run(Path("runs"), course(0.5, last)).name for last in (0.7, 0.9)]
    code, out, err = nnray("compare", *runs, "--json", "--target", "0.8", "--out", "there")
    assert code == 0, err
    told = json.loads(out)
    assert [told["runs"][run]["rounds_to_target"] for run in runs] == [None, 2]
    assert Path(told["png"]).is_file()
    code, out, _ = nnray("compare", *runs, "--metric", "test_loss")
    assert code == 0
    assert out.startswith("test_loss; reached")
    assert Path("comparison/comparison.html").is_file()


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("federate", "f.yaml", "federated=null"), "federated: is missing: say who trains"),
        (("federate", "f.yaml", "federated.cohort=11"), "must be at most federated.clients, which is 10"),
        (("federate", "f.yaml", "federated.strategy=fedag"), "did you mean 'fedavg'"),
        (("federate", "f.yaml", "training.ema_decay=0.9"), "training.ema_decay: is for train alone"),
        (("federate", "f.yaml", "federated.clients=500"), "federated.clients: 500 clients"),
        (("federate", "f.yaml", "--out", "x"), "--out is for --report-partition"),
        (("federate", "f.yaml", "--once", "x", "--report-partition"), "leave one out"),
        (("train", "f.yaml", "data.validation=0"), "data.validation: is 0, which only federate"),
        (("compare", "a", "b"), "no run 'a'"),
        (("compare",), "Missing argument"),
        (("list", "strategys"), "did you mean 'strategies'"),
    ],
)
def test_a_mistake_is_one_message_and_exit_2_and_leaves_nothing(
    nnray: Nnray, args: tuple[str, ...], expected: str
) -> None:
    code, out, err = nnray(*args)
    assert code == 2, err
    assert expected in err
    assert out == ""
    assert "Traceback" not in err
    assert not list(Path().glob("runs/*"))


def test_too_few_clients_are_a_failure_not_a_mistake(nnray: Nnray, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise ClientFailure("round 3: 1 of 4 clients came to an update")

    monkeypatch.setattr("nnray.api.federate", failing)
    code, _, err = nnray("federate", "f.yaml")
    assert code == 1
    assert err == "error: round 3: 1 of 4 clients came to an update\n"


def test_other_workers_go_on_with_what_was_begun(nnray: Nnray, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(Path("runs"), course(0.5))
    seen: list[int | None] = []

    def go_on(experiment: Any, *_: Any, **__: Any) -> Any:
        seen.append(experiment.federated.workers)
        raise RunError("seen enough")

    monkeypatch.setattr("nnray.runners.federated.federate", go_on)
    assert nnray("resume", run.name, "--workers", "0")[0] == 2
    assert nnray("resume", run.name)[0] == 2
    assert seen == [0, 0]


@pytest.mark.parametrize("kind", ["partitions", "samplers", "strategies"])
def test_what_may_be_named_is_listed(nnray: Nnray, kind: str) -> None:
    from nnray import registry

    code, out, _ = nnray("list", kind)
    assert code == 0
    assert out.startswith(f"{kind}:\n")
    (singular,) = (one for one in registry.kinds() if registry.plural(one) == kind)
    assert [name for name in registry.names(singular) if f"\n  {name} " not in out] == []
