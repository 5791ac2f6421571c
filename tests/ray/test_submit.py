"""A real head that asks for a token: a sweep is submitted, watched, let alone, stopped and gone on with."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.ray.head import RayHead, can_run_postgres, mlflow_server, postgres, ray_head

pytestmark = [pytest.mark.ray, pytest.mark.faults]

NNRAY = [sys.executable, "-m", "nnray.cli"]
SMALL = ["training.epochs=1", "data.limit=200", "sweep.scheduler=none"]
LONG = ["sweep.trials=3", "training.epochs=100", "data.limit=1000", "sweep.scheduler=none"]
"""With a trial at the end that outlasts a command or two."""


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    with ray_head() as made:
        yield made


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """nnray as it is now: what is shipped twice is the same even while someone edits it."""
    copied = tmp_path_factory.mktemp("package") / "nnray"
    shutil.copytree(ROOT / "nnray", copied, ignore=shutil.ignore_patterns("__pycache__"))
    return copied


@pytest.fixture(autouse=True)
def project(head: RayHead, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop: its own home, the project with the real experiment file, no token yet."""
    shutil.copytree(package, "nnray")
    Path("jobs").mkdir()
    Path("jobs/digits.yaml").write_text((ROOT / "jobs/digits.yaml").read_text())
    monkeypatch.setenv("HOME", str(Path.cwd()))
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", head.url)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def token(head: RayHead, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(head.token))


def nnray(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NNRAY, *words], capture_output=True, text=True, check=False)


def started(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*NNRAY, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read_until(process: subprocess.Popen[str], start: str, *, stderr: bool = False) -> list[str]:
    """The lines up to the first that begins so."""
    stream, seen = process.stderr if stderr else process.stdout, []
    assert stream is not None
    for line in stream:
        seen.append(line)
        if line.startswith(start):
            return seen
    raise AssertionError("".join(seen))


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What is left of both streams; ``communicate`` would lose what was read ahead of a line."""
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        err = process.stderr.read()  # neither fills its pipe
        out = process.stdout.read()
    process.wait()
    return out, err


def status(job: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(nnray("jobs", "status", job, "--json").stdout)
    return told


def stored(head: RayHead) -> Counter[tuple[str, str]]:
    """Experiment and status of each run in the head's own store."""
    with sqlite3.connect(head.store) as connection:
        return Counter(
            connection.execute(
                "SELECT experiments.name, runs.status FROM runs JOIN experiments USING (experiment_id)"
            ).fetchall()
        )


def test_without_the_token_nothing_is_done_and_one_message_says_why(
    head: RayHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = nnray("submit", "sweep", "jobs/digits.yaml")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == (
        f"error: the head at {head.url} asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH "
        "to a file with the cluster's token; `ray get-auth-token` on the head prints it\n"
    )
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    wrong = nnray("jobs", "list")
    assert wrong.returncode == 2
    assert "refuses this token" in wrong.stderr
    assert "Traceback" not in refused.stderr + wrong.stderr


@pytest.mark.skipif(not can_run_postgres(), reason="needs PostgreSQL (Debian: apt-get install postgresql)")
@pytest.mark.usefixtures("token")
def test_a_sweep_is_shown_as_it_runs_and_recorded_in_postgresql(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    import psycopg2

    folder = tmp_path_factory.mktemp("mlflow")  # what a server writes is not of the project
    with postgres() as uri, mlflow_server(uri, folder) as mlflow:
        submit = ["submit", "sweep", "jobs/digits.yaml", "sweep.trials=3", *SMALL, "--json"]
        submit += ["--env", f"MLFLOW_TRACKING_URI={mlflow}"]
        watching = started(*submit)
        first = read_until(watching, "[1/3]", stderr=True)
        job = first[0].split()[1].rstrip(":")
        assert status(job)["status"] == "RUNNING"
        out, err = finish(watching)
        assert watching.returncode == 0, err
        assert "[3/3]" in err
        result = json.loads(out)
        assert result["tracking_uri"] == mlflow
        assert result["trials"] == {"finished": 3}
        with psycopg2.connect(uri) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT run_uuid, status FROM runs")
            runs = dict(cursor.fetchall())
            cursor.execute("SELECT run_uuid, COUNT(*) FROM metrics WHERE key = 'val_accuracy' GROUP BY 1")
            metrics = dict(cursor.fetchall())
            cursor.execute("SELECT COUNT(*) FROM logged_models")
            models = cursor.fetchone()[0]
        connection.close()
        assert Counter(runs.values()) == {"FINISHED": 4}
        assert result["run_id"] in runs
        assert [metrics[run] for run in runs if run != result["run_id"]] == [1, 1, 1]
        assert models == 3
        again = nnray(*submit)
        assert (again.returncode, json.loads(again.stdout)) == (0, result)
        assert "is there already, SUCCEEDED; nothing was started" in again.stderr


@pytest.mark.usefixtures("token")
def test_a_job_goes_on_without_its_client_and_is_attached_to_again(head: RayHead) -> None:
    name = "name=alone"
    watching = started("submit", "sweep", "jobs/digits.yaml", *LONG, name, "--id", "alone")
    seen = read_until(watching, "[1/3]")
    watching.send_signal(signal.SIGKILL)
    finish(watching)
    assert status("alone")["status"] == "RUNNING"
    attached = nnray("jobs", "logs", "alone")
    assert attached.returncode == 0, attached.stderr
    assert attached.stdout.startswith("".join(seen))
    assert attached.stdout.count("[3/3]") == 1
    assert stored(head)[("alone", "FINISHED")] == 4
    other = nnray("submit", "sweep", "jobs/digits.yaml", "sweep.trials=5", *SMALL, name, "--id", "alone")
    assert other.returncode == 2
    assert "has other content" in other.stderr


@pytest.mark.usefixtures("token")
def test_a_job_that_was_stopped_goes_on_with_its_run(head: RayHead) -> None:
    words = ["submit", "sweep", "jobs/digits.yaml", *LONG, "name=halted", "--id", "halted"]
    watching = started(*words)
    read_until(watching, "[1/3]")
    watching.send_signal(signal.SIGINT)
    _, err = finish(watching)
    assert watching.returncode == 130
    assert "the job goes on: `nnray jobs logs halted` attaches again" in err
    stopped = nnray("jobs", "stop", "halted")
    assert "halted  STOPPED" in stopped.stdout, stopped.stderr
    last = nnray("jobs", "logs", "halted")
    assert last.returncode == 130
    assert "interrupted: `nnray resume" in last.stdout, last.stdout
    gone_on = nnray(*words)
    assert gone_on.returncode == 0, gone_on.stdout + gone_on.stderr
    assert "job halted.2: goes on with the run of halted" in gone_on.stderr
    assert stored(head) == stored(head) | {("halted", "FINISHED"): 4}
    assert len(list((head.home / "nnray/runs").glob("halted-*"))) == 1
    listed = {job["id"]: job["status"] for job in json.loads(nnray("jobs", "list", "--json").stdout)}
    assert listed.items() >= {"halted": "STOPPED", "halted.2": "SUCCEEDED"}.items()


def test_a_head_keeps_its_token_to_itself(head: RayHead) -> None:
    secret = head.token.read_text()
    told = [path for path in head.home.rglob("*") if path.is_file() and path != head.token]
    assert told
    assert [path for path in told if secret.encode() in path.read_bytes()] == []
    assert head.token.stat().st_mode & 0o077 == 0
