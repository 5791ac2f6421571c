"""What runs and sweeps come to, for scripts and notebooks."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from nnray.config import dump, with_overrides
from nnray.runners.results import Result, RunResult
from nnray.runners.sweep.result import SweepResult
from tests.unit.sweep.bench import make_experiment

SHARED = ("run_id", "verb", "seconds", "metrics", "model_uri", "model_sha256", "tracking_uri", "epochs")
PARAMS = {"optimizer.lr": 0.01, "model.hidden": [8, 8]}


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    """Fields that every result has."""
    return {
        "run_id": "r",
        "verb": "sweep",
        "seconds": 1.5,
        "metrics": {"test_accuracy": 0.9, "test_loss": 0.3},
        "model_uri": "models:/m-1",
        "model_sha256": "abc",
        "tracking_uri": "memory:",
        "epochs": 9,
        "folder": tmp_path,
    }


@pytest.fixture
def result(values: dict[str, Any], tmp_path: Path) -> SweepResult:
    experiment = with_overrides(make_experiment(), PARAMS)
    best_file = tmp_path / "best.yaml"
    best_file.write_text(dump(experiment))
    return SweepResult(
        **values,
        best=experiment,
        params=PARAMS,
        best_value=0.91,
        trials={"finished": 3},
        best_file=best_file,
        champion="the model of trial 1",
        text="3 trials",
        front=[{"trial": 1, "params": PARAMS, "values": {"val_accuracy": 0.91, "parameters": 2410.0}}],
    )


def test_every_result_has_what_scripts_rely_on(result: SweepResult, values: dict[str, Any]) -> None:
    run = RunResult(**values, epoch=4)
    for made in (result, run):
        assert isinstance(made, Result)
        assert set(SHARED) <= set(made.to_dict())
    assert {f.name for f in fields(RunResult)} == {*SHARED, "folder", "epoch", "faults"}


def test_a_sweep_adds_its_own_keys_and_no_others(result: SweepResult) -> None:
    assert set(result.to_dict()) == {
        *SHARED, "folder", "best", "best_value", "trials", "best_file", "champion", "summary", "front",
    }  # fmt: skip
    assert result.to_dict()["best"] == PARAMS


def test_results_go_through_json_and_back(result: SweepResult, values: dict[str, Any]) -> None:
    run = RunResult(**values, epoch=4)
    assert RunResult.from_dict(json.loads(json.dumps(run.to_dict()))) == run
    assert SweepResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result


def test_a_result_of_an_earlier_version_has_no_front(result: SweepResult) -> None:
    saved = {name: value for name, value in result.to_dict().items() if name != "front"}
    assert SweepResult.from_dict(saved).front == []


def test_the_summary_says_what_to_do_next(result: SweepResult) -> None:
    lines = result.summary().splitlines()
    assert lines[0] == "3 trials"
    assert f"train it    nnray train {result.best_file}" in lines
    assert "            test_accuracy 0.9000" in lines


def test_a_notebook_shows_what_was_found_and_nothing_long(
    result: SweepResult, values: dict[str, Any]
) -> None:
    table = result._repr_html_()
    assert "<th>test_accuracy</th><td>0.9</td>" in table
    assert "<th>model.hidden</th><td>[8, 8]</td>" in table
    assert "front" not in table
    assert "3 trials" not in table
    assert "<th>epoch</th><td>4</td>" in RunResult(**values, epoch=4)._repr_html_()


def test_results_are_values(result: SweepResult) -> None:
    with pytest.raises(AttributeError):
        result.epochs = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        RunResult("r")  # type: ignore[call-arg]
