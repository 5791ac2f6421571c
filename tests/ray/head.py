"""Servers for tests: a Ray head that asks for a token, PostgreSQL, MLflow over it."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from nnray.tracking.client import ENVIRONMENT
from nnray.tracking.ui import command

LONG_S = 300.0
# On a machine with much else to do a node may be slow to answer: it is not dead for that.
PATIENT = {
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_health_check_failure_threshold": "60",
    "RAY_health_check_timeout_ms": "60000",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
}
_PAUSE = threading.Event()
"""Never set: waits between looks."""


def answers(process: subprocess.Popen[bytes], look: Callable[[], bool], log: Path) -> None:
    """Wait until a server is up."""
    end = time.monotonic() + LONG_S
    while not look():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        _PAUSE.wait(0.2)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def server(
    words: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None, user: str | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with all that it starts, ended at the end."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            words,
            stdout=out,
            stderr=out,
            env=env,
            user=user,
            group=user,
            start_new_session=True,
            cwd=log.parent,
        )
    try:
        yield process
    finally:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        process.send_signal(signal.SIGINT if user else signal.SIGTERM)
        _, alive = psutil.wait_procs(family, timeout=30)
        for other in alive:
            other.kill()
        process.wait()


@dataclass(frozen=True)
class RayHead:
    """A head with two cores that lets in only whoever has its token."""

    home: Path
    url: str
    token: Path
    gcs: int
    environment: Mapping[str, str]

    @property
    def store(self) -> Path:
        return self.home / "nnray" / "mlflow.db"


@contextmanager
def ray_head() -> Iterator[RayHead]:
    home = Path(tempfile.mkdtemp(prefix="nnh-", dir="/tmp"))
    token = home / "token"
    token.touch(0o600)
    token.write_text(secrets.token_hex(32))
    port, gcs = free_port(), free_port()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = {
        "HOME": str(home),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "PATH": path,
        **PATIENT,
    }
    words = [
        *(str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", f"--port={gcs}"),
        *(f"--dashboard-port={port}", "--dashboard-host=127.0.0.1", "--dashboard-agent-listen-port=0"),
        *(f"--ray-client-server-port={free_port()}", "--min-worker-port=0", "--max-worker-port=0"),
        *(f"--temp-dir={home}/r", "--num-cpus=2", "--object-store-memory=200000000"),
    ]
    log = home / "head.log"
    try:
        environment = {**os.environ, **own}
        with server(words, log, env=environment) as process:
            made = RayHead(home, f"http://127.0.0.1:{port}", token, gcs, environment)
            answers(process, lambda: _lets_in(made), log)
            yield made
            assert process.poll() is None, log.read_text() + _last_words(home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _last_words(home: Path) -> str:
    files = sorted((home / "r/session_latest/logs").glob("*.*"))
    return "".join(f"\n== {file.name}\n{file.read_text(errors='replace')[-1500:]}" for file in files)


@contextmanager
def ray_node(head: RayHead) -> Iterator[None]:
    """Another node of a cluster, on this machine."""
    words = [
        *(str(Path(sys.executable).parent / "ray"), "start", f"--address=127.0.0.1:{head.gcs}", "--block"),
        *("--dashboard-agent-listen-port=0", "--min-worker-port=0", "--max-worker-port=0"),
        *("--num-cpus=1", "--object-store-memory=100000000", f"--temp-dir={head.home}/n"),
    ]
    log = head.home / "node.log"
    with server(words, log, env=head.environment) as process:
        answers(process, lambda: "Ray runtime started" in log.read_text(), log)
        yield


def _lets_in(head: RayHead) -> bool:
    request = urllib.request.Request(
        f"{head.url}/api/jobs/", headers={"Authorization": f"Bearer {head.token.read_text()}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def postgres_program(name: str) -> str | None:
    """A program of PostgreSQL's server; Debian keeps them out of the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


def postgres_user() -> str | None:
    """Who is to run it, for it refuses to be root."""
    return "postgres" if os.geteuid() == 0 else None


def can_run_postgres() -> bool:
    if postgres_program("initdb") is None:
        return False
    return postgres_user() is None or any(user.pw_name == "postgres" for user in pwd.getpwall())


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL server that only this machine's sockets reach; its URI comes back."""
    folder, user = Path(tempfile.mkdtemp(prefix="nnpg-", dir="/tmp")), postgres_user()
    if user:
        shutil.chown(folder, user, user)
    try:
        initdb, program = postgres_program("initdb"), postgres_program("postgres")
        assert initdb
        assert program
        make = [
            initdb,
            "-D",
            str(folder / "data"),
            "-A",
            "trust",
            "-U",
            "postgres",
            "--no-sync",
            "-E",
            "UTF8",
        ]
        subprocess.run(make, check=True, capture_output=True, user=user, group=user, cwd=folder)
        words = [program, "-D", str(folder / "data"), "-k", str(folder), "-c", "listen_addresses="]
        log = folder / "postgres.log"
        with server(words, log, user=user) as process:
            uri = f"postgresql://postgres@/postgres?host={folder}"
            answers(process, lambda: _connects(uri), log)
            yield uri
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _connects(uri: str) -> bool:
    import psycopg2

    try:
        psycopg2.connect(uri).close()
    except psycopg2.OperationalError:
        return False
    return True


@contextmanager
def mlflow_server(uri: str, folder: Path) -> Iterator[str]:
    """An MLflow server over a data base; its address comes back."""
    port = free_port()
    own = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
    # Without a driver in the name SQLAlchemy takes psycopg 3.
    driven = uri.replace("postgresql://", "postgresql+psycopg2://")
    words = [
        *command(driven, host="127.0.0.1", port=port),
        "--artifacts-destination",
        str(folder / "artifacts"),
    ]
    log = folder / "mlflow.log"
    with server(words, log, env={**os.environ, **ENVIRONMENT, **own}) as process:
        answers(process, lambda: _is_healthy(port), log)
        yield f"http://127.0.0.1:{port}"


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
