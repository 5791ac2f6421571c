"""Download of published data sets by torchvision, which checks their md5.

Everything goes to a folder aside and is moved into place when it is whole, so a killed or
concurrent download leaves no half-written file. torchvision takes seconds to import, so it is
asked only when files are missing and the host of the data set answers.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

HOSTS = {
    "MNIST": "https://ossci-datasets.s3.amazonaws.com",
    "FashionMNIST": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    "CIFAR10": "https://www.cs.toronto.edu",
}
_CONNECT_S = 4.0
_STALLED_S = 30.0


def network_problem(source: str) -> str:
    """Why the host of a data set, or the proxy in front of it, can't be reached; empty if it can.

    Args:
        source: A class of ``torchvision.datasets``.
    """
    url = urlsplit(HOSTS[source])
    proxy = urlsplit(getproxies().get(url.scheme, ""))
    host = proxy.hostname or url.hostname
    port = proxy.port or (443 if url.scheme == "https" else 80)
    try:
        socket.create_connection((host, port), timeout=_CONNECT_S).close()
    except OSError as error:
        return f"no connection to {host}:{port} ({error})"
    return ""


def download(source: str, *, root: Path) -> str:
    """Download a data set into ``root`` with torchvision; progress goes to stderr.

    Args:
        source: A class of ``torchvision.datasets``.
        root: Made if it isn't there.

    Returns:
        Why it failed; empty if it did not.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as aside:
            _fetch(source, Path(aside))
            _move_in(Path(aside), root)
    except ImportError as error:
        return f"torchvision is not installed, which nnray depends on ({error})"
    except (OSError, RuntimeError, EOFError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _fetch(source: str, folder: Path) -> None:
    from torchvision import datasets

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_STALLED_S)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            getattr(datasets, source)(str(folder), download=True)
    finally:
        socket.setdefaulttimeout(before)


def _move_in(aside: Path, root: Path) -> None:
    """Move each file to its place, unless it has been put there meanwhile."""
    archives = {".gz", ".tgz", ".zip"}
    for path in sorted(p for p in aside.rglob("*") if p.is_file() and p.suffix not in archives):
        target = root / path.relative_to(aside)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            _replace(path, target)


def _replace(path: Path, target: Path) -> None:
    try:
        path.replace(target)
    except OSError:
        shutil.move(path, target)
