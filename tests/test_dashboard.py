"""What a person sees: the study of a sweep in optuna-dashboard, in headless Chromium."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_ui import CHROMIUM, LONG_S, _answers, _free_port, _page
from tests.unit.sweep.bench import Bench, make_experiment

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: chromium)"),
]
TRIALS = 9


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The dashboard over the study of a sweep with finished, pruned and failed trials."""
    folder = tmp_path / "digits-sweep"
    folder.mkdir()
    live = Bench(make_experiment(trials=TRIALS, scheduler="asha", search="tpe"), folder)
    live.begin()
    live.run(concurrency=2)
    port = _free_port()
    command = [str(Path(sys.executable).with_name("optuna-dashboard")), str(folder / "study.journal")]
    with (tmp_path / "dashboard.log").open("wb") as log:
        server = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log)
    made = f"http://127.0.0.1:{port}"
    began = time.monotonic()
    while not _answers(made) and server.poll() is None and time.monotonic() - began < LONG_S:
        pass
    assert server.poll() is None, (tmp_path / "dashboard.log").read_text()
    yield made
    server.terminate()
    server.wait(LONG_S)


def test_the_study_is_there_with_all_its_trials(address: str, tmp_path: Path) -> None:
    with urllib.request.urlopen(f"{address}/api/studies", timeout=30) as answer:
        (study,) = json.load(answer)["study_summaries"]
    assert study["study_name"] == "digits-sweep"
    with urllib.request.urlopen(f"{address}/api/studies/{study['study_id']}", timeout=30) as answer:
        trials = json.load(answer)["trials"]
    assert len(trials) == TRIALS
    assert {trial["state"] for trial in trials} <= {"Complete", "Pruned", "Fail"}
    assert "digits-sweep" in _page(f"{address}/dashboard/", tmp_path)
