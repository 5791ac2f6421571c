"""What a federated run comes to, for scripts, notebooks and people."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from nnray.runners.federated.result import FederatedResult
from nnray.runners.results import Result

SHARED = {"run_id", "verb", "seconds", "metrics", "model_uri", "model_sha256", "tracking_uri", "rounds"}


def result(tmp_path: Path, **changes: Any) -> FederatedResult:
    given: dict[str, Any] = {
        "run_id": "r",
        "verb": "federate",
        "seconds": 1.5,
        "metrics": {
            "test_accuracy": 0.97123,
            "test_loss": 0.1,
            "client_accuracy_worst": 0.5,
            "client_steps": 44.0,
        },
        "model_uri": "models:/m-1",
        "model_sha256": "abc",
        "tracking_uri": "memory:",
        "folder": tmp_path / "digits-federate",
        "rounds": 40,
        "clients": 100,
        "cohort": 10,
        "strategy": "fedavg",
    }
    return FederatedResult(**(given | changes))


def test_it_has_what_scripts_rely_on(tmp_path: Path) -> None:
    made = result(tmp_path)
    assert isinstance(made, Result)
    assert set(made.to_dict()) >= SHARED
    assert {f.name for f in fields(made)} == {
        *SHARED, "folder", "clients", "cohort", "strategy", "target", "faults",
    }  # fmt: skip


def test_it_goes_through_json_and_back(tmp_path: Path) -> None:
    made = result(tmp_path, target="test_accuracy 0.97", faults=["round 2: client 3: ValueError"])
    assert FederatedResult.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_the_summary_tells_scores_rounds_and_what_to_do_next(tmp_path: Path) -> None:
    rows = dict(line.split(maxsplit=1) for line in result(tmp_path).summary().splitlines())
    assert rows["test_accuracy"] == "0.9712"
    assert rows["client_accuracy_worst"] == "0.5000"
    assert "client_steps" not in rows
    assert rows["rounds"] == "40 of fedavg, 10 of 100 clients in each"
    assert rows["run"] == "r"
    assert rows["compare"] == f"nnray compare {tmp_path / 'digits-federate'} RUN ..."
    assert "target" not in rows
    assert "fault" not in rows


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"rounds_to_target": 31.0}, "test_accuracy 0.97 reached in round 31"),
        ({}, "test_accuracy 0.97 not reached"),
    ],
)
def test_a_target_is_told_whether_reached_or_not(
    metrics: dict[str, float], expected: str, tmp_path: Path
) -> None:
    assert expected in result(tmp_path, target="test_accuracy 0.97", metrics=metrics).summary()


def test_many_faults_are_counted_not_listed(tmp_path: Path) -> None:
    faults = [f"round {number}: client 7: ValueError" for number in range(1, 9)]
    text = result(tmp_path, faults=faults).summary()
    assert text.count("ValueError") == 5
    assert "and 3 more: history.jsonl in the run's folder names them" in text
    assert "more" not in result(tmp_path, faults=faults[:5]).summary()


def test_a_notebook_shows_settings_and_scores(tmp_path: Path) -> None:
    text = result(tmp_path)._repr_html_()
    assert "<caption>federate digits-federate</caption>" in text
    assert "<th>test_accuracy</th><td>0.9712</td>" in text
    assert "<th>cohort</th><td>10</td>" in text
