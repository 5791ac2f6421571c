"""An examination of this machine: real disks, stores, tokens and servers; nothing is left behind."""

from __future__ import annotations

import json
import os
import platform
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import nnray
from nnray.errors import ClusterError
from nnray.runners.doctor import Finding, examine, node
from nnray.runners.doctor.node import Probe, as_uri, look, read_token, remove, write_token
from nnray.tracking.database import create_database
from nnray.tracking.probe import EXPERIMENT, probe
from tests.unit.runners.job_server import TOKEN, JobServer, running


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_TOKEN", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def test_this_machine_is_looked_at_and_nothing_is_left() -> None:
    found = by_name(nnray.doctor(storage="shared"))
    assert list(found) == ["versions", "gpus", "disk", "memory", "limits", "storage", "mlflow"]
    assert f"python {platform.python_version()}" in found["versions"].text
    assert f"nnray {nnray.__version__}" in found["versions"].text
    assert found["storage"].text == "shared: written and read by 1 node"
    assert found["mlflow"].text.endswith("mlflow.db: the first run makes it")
    assert [str(path) for path in Path().rglob("*")] == ["shared"]


def test_the_facts_are_this_machines() -> None:
    facts = look()
    assert facts.host == socket.gethostname() == facts.name
    assert facts.cpus == len(os.sched_getaffinity(0))
    assert facts.memory_bytes > 2**20
    assert facts.disk_bytes > 2**20
    assert {"ray", "torch", "mlflow"} <= facts.versions.keys()
    assert look(address="10.0.0.1").name == f"{facts.host} (10.0.0.1)"


def test_gpus_are_those_that_the_driver_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA'\necho 'GPU 1: NVIDIA'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert node._count_gpus() == 2
    program.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert node._count_gpus() == 0


def test_a_storage_that_cant_be_written_says_so() -> None:
    Path("file").write_text("x")
    finding = by_name(examine(storage="file/below"))["storage"]
    assert finding.verdict == "problem"
    assert "file/below: " in finding.text
    assert "rights to write" in finding.text
    assert by_name(examine(storage="gopher://x/y"))["storage"].verdict == "problem"


@pytest.mark.parametrize("form", ["shared", "file://{here}/shared"])
def test_what_is_written_is_read_and_removed(form: str) -> None:
    storage = form.format(here=Path.cwd())
    assert as_uri(storage) == f"file://{Path.cwd()}/shared"
    token = write_token(storage, "t")
    assert read_token(storage, "t") == token
    assert write_token(storage, "t") != token
    remove(storage, ["t", "gone"])
    assert list(Path("shared").iterdir()) == []


def test_a_store_takes_a_run_that_is_deleted_again(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    create_database(file)
    uri = f"sqlite:///{file}"
    for _ in range(2):
        assert probe(uri).problem == ""
    from nnray.tracking.client import make_client

    client = make_client(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    assert client.search_runs([experiment.experiment_id]) == []


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://me:hidden@127.0.0.1:1", "Connection refused"),
        ("mlruns", "is a file store"),
        ("gopher://x", "unknown kind of store"),
    ],
)
def test_a_store_that_takes_nothing_says_why_and_no_password(uri: str, expected: str) -> None:
    finding = by_name(examine(tracking=uri))["mlflow"]
    assert finding.verdict == "problem"
    assert expected in finding.text
    assert "hidden" not in finding.text


def test_a_store_that_fails_in_the_middle_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_database(tmp_path / "store.db")
    monkeypatch.setattr(
        "mlflow.MlflowClient.log_text", lambda *_: (_ for _ in ()).throw(OSError("bucket is gone"))
    )
    assert "can't be written: " in (problem := probe(f"sqlite:///{tmp_path}/store.db").problem)
    assert "bucket is gone" in problem


@pytest.mark.parametrize(
    ("mode", "verdict"), [(0o600, "ok"), (0o400, "ok"), (0o644, "problem"), (0o640, "problem")]
)
def test_a_token_that_others_may_read_is_a_problem(home: Path, mode: int, verdict: str) -> None:
    assert "token" not in by_name(examine())
    (home / ".ray").mkdir()
    path = home / ".ray/auth_token"
    path.write_text("hidden")
    path.chmod(mode)
    finding = by_name(examine())["token"]
    assert finding.verdict == verdict
    assert "hidden" not in finding.text
    assert ("chmod 600" in finding.text) == (verdict == "problem")


def test_machines_reach_each_other_or_say_why_not() -> None:
    probe = Probe("127.0.0.1", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as shut:
        nobody = shut.getsockname()[1]
    assert probe.knock([("127.0.0.1", probe.port()), ("127.0.0.1", nobody)]) == ["", "Connection refused"]
    probe._listener.close()


def test_a_cluster_that_is_not_there_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    finding = by_name(examine())["nodes"]
    assert finding.verdict == "problem"
    assert "can't connect to the Ray cluster at 127.0.0.1:1" in finding.text


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[JobServer]:
    with running() as server:
        monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
        yield server


class Told(dict[str, list[str]]):
    """Every job prints the same."""

    def __init__(self, *pieces: str) -> None:
        super().__init__()
        self._pieces = list(pieces)

    def get(self, key: str, default: object = None) -> list[str]:  # type: ignore[override]
        return self._pieces


def test_a_cluster_far_away_is_examined_by_a_job(cluster: JobServer) -> None:
    finding = Finding("clock", "problem", "not the head's time")
    cluster.logs = Told("a word before\n", json.dumps([finding.to_dict()]) + "\n")
    assert nnray.doctor(address=cluster.url, storage="s3://b/it's") == [finding]
    (job,) = cluster.jobs.values()
    assert job["entrypoint"].endswith(
        """exec python -m nnray.cli doctor '--storage=s3://b/it'"'"'s' --json"""
    )
    assert cluster.uploads == 1
    nnray.doctor(address=cluster.url)
    assert (cluster.uploads, len(cluster.jobs)) == (1, 2)


def test_a_cluster_that_cant_examine_itself_says_why(cluster: JobServer) -> None:
    cluster.logs = Told("No module named torch\n")
    with pytest.raises(ClusterError, match=r"job doctor-.* succeeded: No module named torch"):
        nnray.doctor(address=cluster.url)
