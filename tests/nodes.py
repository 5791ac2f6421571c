"""Several Ray nodes on one machine, for tests that lose one.

`loopback_nodes` are raylets with ports of their own on 127.0.0.1: they need nothing, and can be
killed. `namespace_nodes` are hosts: each has network, processes, /tmp and /dev/shm of its own, and a
cable to a router, which is a namespace as well (routing needs less of a kernel than a bridge does).
Their power can be cut, and their cable pulled and plugged in again. Both end only what they started.
"""

from __future__ import annotations

import functools
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import psutil

from tests.conftest import ROOT

LONG_S = 300.0
NOTICED_S = 10.0
"""How soon a lost node is noticed with the health checks that these nodes have."""
_PAUSE = threading.Event()
_NETWORK = "10.77"
_STARTED = "Ray runtime started"
_TOO_SLOW = "timed out during startup"
_ATTEMPTS = 3
_STORE_BYTES = 100 * 2**20
_OURS = ("RAY_", "MLFLOW_", "GLOO_")
"""How variables begin that a host must not have from the process of the tests, which has other interfaces."""
_HEALTH = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
# Set up a host's file system: what is shared stays where it is, /tmp and /dev/shm are its own. Then wait.
_BOOT = """
set -e
mount -t tmpfs tmpfs /mnt
n=0; for kept; do mkdir "/mnt/$n"; mount --bind "$kept" "/mnt/$n"; n=$((n + 1)); done
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /dev/shm
n=0; for kept; do mkdir -p "$kept"; mount --move "/mnt/$n" "$kept"; n=$((n + 1)); done
echo up
exec sleep infinity
"""


def _own_folders() -> list[str]:
    """Where this project and its Python stand, if that is below /tmp."""
    folders = {str(ROOT), sys.prefix, sys.base_prefix}
    below = sorted(folder for folder in folders if folder.startswith("/tmp/"))
    return [folder for folder in below if not any(folder.startswith(f"{other}/") for other in below)]


class Host(Protocol):
    """Where a node runs."""

    address: str

    def popen(self, words: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a process there."""

    def cut(self) -> None:
        """Cut the power: all that runs there is gone at once."""


def until(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    """Wait for a condition; ``what`` says what was missing."""
    end = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < end, what()
        _PAUSE.wait(0.1)


class Loopback:
    """This machine, as one of several nodes on it."""

    address = "127.0.0.1"

    def __init__(self) -> None:
        self._started: list[psutil.Process] = []

    def popen(self, words: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        process = subprocess.Popen(words, start_new_session=True, **options)
        self._started.append(psutil.Process(process.pid))
        return process

    def cut(self) -> None:
        """Kill all that was started here, and all that those started."""
        family = list(self._started)
        for process in self._started:
            with suppress(psutil.NoSuchProcess):
                family += process.children(recursive=True)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=LONG_S)


class Namespaces:
    """A host of its own: network, processes, /tmp and /dev/shm.

    Args:
        number: Of the host; its network has it.
        hub: The process whose network routes between hosts.
        shared: A folder that all hosts have at the same place.
    """

    def __init__(self, number: int, *, hub: int, shared: Path) -> None:
        self._network, self._hub, self._cable = f"{_NETWORK}.{number}", hub, f"cable{number}"
        self.address = f"{self._network}.2"
        words = ["unshare", "--net", "--pid", "--mount", "--ipc", "--fork", "--mount-proc", "--kill-child"]
        self._boot = subprocess.Popen(
            [*words, "bash", "-c", _BOOT, "bash", str(shared), *_own_folders()],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._boot.stdout is not None
        assert self._boot.stdout.readline() == "up\n"
        (child,) = psutil.Process(self._boot.pid).children()
        self._init = child.pid
        self._plug_in()

    def _plug_in(self) -> None:
        router = f"{self._network}.1"
        ends = ["type", "veth", "peer", "name", "eth0", "netns", str(self._init)]
        _ip(self._hub, "link", "add", self._cable, *ends)
        _ip(self._hub, "addr", "add", f"{router}/24", "dev", self._cable)
        _ip(self._hub, "link", "set", self._cable, "up")
        # Without the cable packets for this host vanish: the router must not say that it is not reached.
        _ip(self._hub, "route", "add", "blackhole", f"{self._network}.0/24", "metric", "1000")
        _ip(self._init, "addr", "add", f"{self.address}/24", "dev", "eth0")
        _ip(self._init, "link", "set", "eth0", "up")
        _ip(self._init, "link", "set", "lo", "up")
        _ip(self._init, "route", "add", "default", "via", router)

    def popen(self, words: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        enter = ["nsenter", "--target", str(self._init), "--net", "--pid", "--mount", "--ipc", "--"]
        return subprocess.Popen([*enter, *words], start_new_session=True, **options)

    def link(self, *, up: bool) -> None:
        """Pull the cable, or plug it in: what is under way is lost, nobody is told."""
        _ip(self._hub, "link", "set", self._cable, "up" if up else "down")

    def cut(self) -> None:
        """Kill the first process: the kernel kills all others with it, and the cable goes."""
        with suppress(psutil.NoSuchProcess):
            psutil.Process(self._init).kill()
        self._boot.communicate(timeout=LONG_S)


def _ip(process: int, *words: str) -> None:
    """Change the network that a process is in."""
    subprocess.run(["nsenter", "--target", str(process), "--net", "ip", *words], check=True)


class Nodes:
    """A Ray cluster; the first node that is added is its head.

    Args:
        folder: For logs, the token and Ray's own files; on every host at the same place.
        make_host: Makes the host of a node from its number.
        port: Of the head.
    """

    def __init__(self, folder: Path, *, make_host: Callable[[int], Host], port: int) -> None:
        self.folder, self._make_host, self._port = folder, make_host, port
        self.hosts: list[Host] = []
        self._processes: list[subprocess.Popen[Any]] = []
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32), encoding="utf-8")

    @property
    def address(self) -> str:
        """Of the cluster."""
        return f"{self.hosts[0].address}:{self._port}"

    @property
    def environment(self) -> Mapping[str, str]:
        """For whatever runs on a node, drivers included."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        own = {
            "PYTHONUNBUFFERED": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        address = {"RAY_ADDRESS": self.address} if self.hosts else {}
        return {**kept, **own, **_HEALTH, **address}

    def add(self, *, cpus: int = 1, resources: str = "{}") -> Host:
        """One more node; returns when it is part of the cluster.

        Args:
            cpus: Its cores.
            resources: More of its resources, as JSON.
        """
        host = self._make_host(len(self.hosts))
        self.hosts.append(host)
        words = [*self._start(host), f"--num-cpus={cpus}", "--num-gpus=0", f"--resources={resources}"]
        for attempt in range(_ATTEMPTS):
            log = self.folder / f"node-{len(self.hosts)}-{attempt}.log"
            if self._is_started(host, words, log=log):
                return host
            # Ray gives a raylet 30 s, and a loaded machine may need more.
            assert _TOO_SLOW in log.read_text(encoding="utf-8"), log.read_text(encoding="utf-8")
        raise AssertionError(f"no node within {_ATTEMPTS} attempts: {log.read_text(encoding='utf-8')}")

    def _is_started(self, host: Host, words: Sequence[str], *, log: Path) -> bool:
        environment = {name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"}
        with log.open("w") as out:
            process = host.popen(words, env=environment, stdout=out, stderr=out, cwd=self.folder)
        self._processes.append(process)
        read = functools.partial(log.read_text, encoding="utf-8")
        until(lambda: process.poll() is not None or _STARTED in read(), read)
        return process.poll() is None

    def _start(self, host: Host) -> list[str]:
        is_head = len(self.hosts) == 1
        # Each node's files on its own disk; names of sockets are short.
        role = (
            ["--head", f"--port={self._port}", "--include-dashboard=false", f"--temp-dir={self.folder / 'r'}"]
            if is_head
            else [f"--address={self.address}"]
        )
        return [
            str(Path(sys.executable).parent / "ray"),
            "start",
            *role,
            "--block",
            "--log-style=record",
            f"--node-ip-address={host.address}",
            f"--object-store-memory={_STORE_BYTES}",
            # Any port that is free, for whatever would have a fixed one.
            "--min-worker-port=0",
            "--max-worker-port=0",
            "--dashboard-agent-listen-port=0",
            "--dashboard-agent-grpc-port=0",
        ]

    def python(self, program: str, *arguments: str, on: Host | None = None) -> subprocess.Popen[str]:
        """A Python program on a node, the head if none is named; its input and output are pipes."""
        host = on if on is not None else self.hosts[0]
        process: subprocess.Popen[str] = host.popen(
            [sys.executable, "-c", program, *arguments],
            env=dict(self.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )
        self._processes.append(process)
        return process

    def close(self) -> None:
        """End every node, the head last, and wait until all is gone."""
        for host in reversed(self.hosts):
            host.cut()
        for process in self._processes:
            process.wait(timeout=LONG_S)
            for pipe in filter(None, (process.stdin, process.stdout)):
                with suppress(BrokenPipeError):
                    pipe.close()


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder whose name leaves room for those of sockets."""
    folder = Path(tempfile.mkdtemp(prefix="nn-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def loopback_nodes() -> Iterator[Nodes]:
    """Nodes with ports of their own on 127.0.0.1; none is there yet."""
    with _folder() as folder, ExitStack() as stack:
        nodes = Nodes(folder, make_host=lambda _: Loopback(), port=_free_port())
        stack.callback(nodes.close)
        yield nodes


@contextmanager
def namespace_nodes() -> Iterator[Nodes]:
    """Nodes with namespaces and addresses of their own; none is there yet."""
    with _folder() as folder, ExitStack() as stack:
        hub = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        stack.callback(hub.wait)
        stack.callback(hub.kill)
        ours, its = (Path(f"/proc/{pid}/ns/net") for pid in ("self", hub.pid))
        until(lambda: ours.readlink() != its.readlink(), lambda: "no namespace of its own")
        forward = "echo 1 > /proc/sys/net/ipv4/ip_forward"
        subprocess.run(["nsenter", "--target", str(hub.pid), "--net", "sh", "-c", forward], check=True)
        nodes = Nodes(folder, make_host=lambda n: Namespaces(n, hub=hub.pid, shared=folder), port=6379)
        stack.callback(nodes.close)
        yield nodes


@functools.cache
def can_have_namespaces() -> bool:
    """Whether this process may make hosts of namespaces: root, iproute2, and a kernel that lets it."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "nsenter"))):
        return False
    trial = "mount -t tmpfs tmpfs /mnt && ip link add v type veth peer name w"
    words = ["unshare", "--net", "--pid", "--mount", "--ipc", "--fork", "--mount-proc", "sh", "-c", trial]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0
