"""cluster/mlflow.sh, for real: SQLite and PostgreSQL, with and without the password."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.files import CLUSTER
from tests.cluster.programs import program

_PATIENCE_S = 240
POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
with_postgres = pytest.mark.skipif(
    POSTGRES is None or os.geteuid() != 0 or shutil.which("runuser") is None,
    reason="needs PostgreSQL's server (Debian: postgresql), and root to become another user",
)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port: int = server.getsockname()[1]
        return port


def ask(url: str, *, password: str | None = None, body: object = None) -> tuple[int, object]:
    """Status and answer; -1 where nobody is there yet."""
    request = urllib.request.Request(url, data=json.dumps(body).encode() if body is not None else None)
    request.add_header("Content-Type", "application/json")
    if password is not None:
        request.add_header(
            "Authorization", "Basic " + base64.b64encode(f"admin:{password}".encode()).decode()
        )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read().decode()
            return answer.status, json.loads(text) if text.startswith("{") else text
    except urllib.error.HTTPError as error:
        error.close()
        return error.code, None
    except OSError:
        return -1, None


@contextlib.contextmanager
def serving(folder: Path, environment: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The server's address and its password."""
    secrets = folder / "secrets"
    subprocess.run([CLUSTER / "secrets.sh", secrets], check=True, capture_output=True)
    port = free_port()
    full = {
        **os.environ,
        "PATH": f"{Path(program('mlflow')).parent}:{os.environ['PATH']}",
        "NNRAY_SECRETS": str(secrets),
        "MLFLOW_FOLDER": str(folder / "mlflow"),
        "MLFLOW_PORT": str(port),
        **environment,
    }
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [CLUSTER / "mlflow.sh"], env=full, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while ask(f"http://127.0.0.1:{port}/health")[0] != 200:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(timeout=0.2)
            assert server.poll() is None, (folder / "log").read_text(encoding="utf-8")
            assert time.monotonic() < deadline, (folder / "log").read_text(encoding="utf-8")
        yield f"http://127.0.0.1:{port}", (secrets / "mlflow_admin_password").read_text(encoding="utf-8")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=_PATIENCE_S)


def check(address: str, password: str) -> None:
    """Refused without the password; with it, a run goes in and comes out."""
    api = f"{address}/api/2.0/mlflow"
    search = f"{api}/experiments/search"
    assert ask(search, body={"max_results": 5})[0] == 401
    assert ask(search, body={"max_results": 5}, password="wrong")[0] == 401
    status, made = ask(f"{api}/experiments/create", body={"name": "mine"}, password=password)
    assert status == 200
    assert isinstance(made, dict)
    status, found = ask(f"{api}/experiments/get?experiment_id={made['experiment_id']}", password=password)
    assert status == 200
    assert isinstance(found, dict)
    assert found["experiment"]["name"] == "mine"
    # Models go through the server: no client needs to reach where they lie.
    assert found["experiment"]["artifact_location"].startswith("mlflow-artifacts:/")


def test_with_sqlite(tmp_path: Path) -> None:
    with serving(tmp_path, {}) as (address, password):
        check(address, password)
        assert ask(address + "/api/2.0/mlflow/experiments/get?experiment_id=0", password=password)[0] == 200
    assert (tmp_path / "mlflow/auth.ini").stat().st_mode & 0o077 == 0
    assert password not in (tmp_path / "log").read_text(encoding="utf-8")


def postgres(folder: Path, command: str) -> None:
    """Run one of PostgreSQL's programs as its user; it refuses to be root."""
    subprocess.run(
        ["runuser", "-u", "postgres", "--", "bash", "-c", f"cd {folder} && {POSTGRES}/{command}"],
        check=True,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def database() -> Iterator[tuple[str, Path]]:
    """A private PostgreSQL that asks for a password; its URI, without, and the password's file."""
    folder = Path(subprocess.run(["mktemp", "-d"], check=True, capture_output=True, text=True).stdout.strip())
    subprocess.run([CLUSTER / "secrets.sh", folder / "secrets"], check=True, capture_output=True)
    subprocess.run(["chown", "-R", "postgres", folder], check=True)
    port = free_port()
    try:
        postgres(folder, "initdb -D data -U mlflow --auth=scram-sha-256 --pwfile=secrets/postgres_password")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        postgres(folder, f'pg_ctl -D data -w -t 120 -l log -o "{options}" start')
        try:
            yield f"postgresql+psycopg2://mlflow@127.0.0.1:{port}/postgres", folder / "secrets"
        finally:
            postgres(folder, "pg_ctl -D data -m immediate stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@with_postgres
def test_with_postgresql(tmp_path: Path, database: tuple[str, Path]) -> None:
    uri, secrets = database
    shutil.copytree(secrets, tmp_path / "secrets")
    with serving(tmp_path, {"MLFLOW_BACKEND_STORE_URI": uri}) as (address, password):
        check(address, password)
        # The database's password is in no process's arguments.
        arguments = subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True, text=True).stdout
        assert (secrets / "postgres_password").read_text(encoding="utf-8") not in arguments
    # Runs and users are in the database: nothing was made beside it.
    assert sorted(path.name for path in (tmp_path / "mlflow").iterdir() if path.suffix == ".db") == []


@pytest.mark.parametrize("name", ["mlflow_admin_password", "mlflow_secret_key"])
def test_a_missing_secret_is_named(name: str, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    subprocess.run([CLUSTER / "secrets.sh", secrets], check=True, capture_output=True)
    (secrets / name).unlink()
    environment = {**os.environ, "NNRAY_SECRETS": str(secrets), "MLFLOW_FOLDER": str(tmp_path / "mlflow")}
    done = subprocess.run(
        [CLUSTER / "mlflow.sh"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"{name} is missing or empty: run cluster/secrets.sh" in done.stderr
