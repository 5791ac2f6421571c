"""`nnray ensemble` on the command line."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from nnray import api
from nnray.errors import DataError
from nnray.runners.ensemble import RULES, EnsembleOutcome
from tests.unit.cli_calls import Nnray, caller

MEMBERS = [
    {"name": "trial 7", "sha256": "a", "data": "d", "weight": 0.75, "metrics": {"val_accuracy": 0.91}},
    {"name": "trial 11 (pruned)", "sha256": "b", "data": "d", "weight": 0.25, "metrics": {"val_loss": 0.5}},
]
OUTCOME = EnsembleOutcome(
    verb="ensemble",
    seconds=1.5,
    run_id="r",
    model_uri="models:/m-1",
    model_sha256="c",
    tracking_uri="sqlite:///x.db",
    metrics={"val_accuracy": 0.93, "test_accuracy": 0.92},
    files=["/x/ensemble.json"],
    combine="select",
    text="2 of 12 members, taken 4 times greedily",
    members=MEMBERS,
    notes=["validation: members were taken by it, so it is optimistic"],
    registered="digits@candidate",
)


@pytest.fixture
def nnray(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Nnray:
    return caller(monkeypatch, capsys)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the verb was called with."""
    seen = SimpleNamespace(models=None, options=None)

    def ensemble(models: Any, **options: Any) -> EnsembleOutcome:
        seen.models, seen.options = models, options
        return OUTCOME

    monkeypatch.setattr(api, "ensemble", ensemble)
    return seen


def test_models_and_options_are_handed_on(nnray: Nnray, asked: SimpleNamespace) -> None:
    code, _, _ = nnray(
        "ensemble", "a", "b@champion", "--combine", "vote", "--top", "3", "--no-test", "--trust"
    )
    assert code == 0
    assert asked.models == ["a", "b@champion"]
    given = {
        "combine": "vote",
        "top": 3,
        "test": False,
        "trust": True,
        "register": None,
        "alias": "candidate",
    }
    assert {name: asked.options[name] for name in given} == given


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_can_be_asked_for(rule: str, nnray: Nnray, asked: SimpleNamespace) -> None:
    assert nnray("ensemble", "a", "--combine", rule)[0] == 0
    assert asked.options["combine"] == rule


def test_a_person_sees_a_table_and_what_to_do_next(nnray: Nnray, asked: SimpleNamespace) -> None:
    _, out, _ = nnray("ensemble", "a")
    lines = out.splitlines()
    assert lines[2].split() == ["val_accuracy", "val_loss", "test_accuracy", "weight"]
    assert lines[3].split() == ["trial", "7", "0.9100", "0.75"]
    assert lines[4].split() == ["trial", "11", "(pruned)", "0.5000", "0.25"]
    assert lines[5].split() == ["ensemble", "0.9300", "0.9200"]
    ends = {len(line.rstrip()) for line in (lines[2], lines[3], lines[4])}
    assert len(ends) == 1
    assert "nnray evaluate digits@candidate" in out
    assert "optimistic" in out


def test_a_script_gets_one_line(nnray: Nnray, asked: SimpleNamespace) -> None:
    _, out, err = nnray("ensemble", "a", "--json")
    found = json.loads(out.splitlines()[-1])
    assert found["metrics"] == {"val_accuracy": 0.93, "test_accuracy": 0.92}
    assert [member["weight"] for member in found["members"]] == [0.75, 0.25]
    assert {"run_id", "verb", "seconds", "model_uri", "model_sha256", "tracking_uri"} <= found.keys()
    assert "trial 7" in err


@pytest.mark.parametrize("arguments", [["--combine", "men"], ["--top", "0"]])
def test_what_is_not_allowed_is_said(arguments: list[str], nnray: Nnray, asked: SimpleNamespace) -> None:
    code, _, err = nnray("ensemble", "a", *arguments)
    assert code == 2
    assert "error:" in err
    assert asked.models is None


def test_a_leak_is_the_users_to_mend(nnray: Nnray, monkeypatch: pytest.MonkeyPatch) -> None:
    def ensemble(*_: object, **__: object) -> EnsembleOutcome:
        raise DataError("b has learnt from 3 of its 9 examples")

    monkeypatch.setattr(api, "ensemble", ensemble)
    code, _, err = nnray("ensemble", "a", "b", "--combine", "stack")
    assert code == 2
    assert err == "error: b has learnt from 3 of its 9 examples\n"
