"""``nnray report`` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nnray import api
from nnray.cli import app
from nnray.runners.outcome import Outcome


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What the verb was called with; it writes nothing."""
    seen: list[tuple[str, dict[str, Any]]] = []

    def report(run: str, **options: Any) -> Outcome:
        seen.append((run, options))
        return Outcome(verb="report", seconds=0.1, run_id="r", files=[str(Path("page.html").absolute())])

    monkeypatch.setattr(api, "report", report)
    return seen


def test_options_reach_the_verb(calls: list[tuple[str, dict[str, Any]]]) -> None:
    done = CliRunner().invoke(
        app, ["report", "RUN", "--out", "a.html", "--dir", "d", "--tracking", "sqlite:///x"]
    )
    assert done.exit_code == 0
    assert calls == [("RUN", {"root": Path("d"), "tracking": "sqlite:///x", "out": Path("a.html")})]
    assert "page.html" in done.stdout


def test_json_is_one_line(calls: list[tuple[str, dict[str, Any]]]) -> None:
    done = CliRunner().invoke(app, ["report", "RUN", "--json"])
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["verb"], told["run_id"]) == ("report", "r")


@pytest.mark.parametrize(("arguments", "opened"), [([], 0), (["--open"], 1)])
def test_a_browser_opens_only_when_asked(
    calls: list[tuple[str, dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    opened: int,
) -> None:
    seen: list[str] = []
    monkeypatch.setattr("webbrowser.open", seen.append)
    assert CliRunner().invoke(app, ["report", "RUN", *arguments]).exit_code == 0
    assert len(seen) == opened
    assert all(address.startswith("file://") for address in seen)
