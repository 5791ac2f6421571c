from __future__ import annotations

import socket
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nnray.data import download as module
from nnray.data.download import download, network_problem


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "getproxies", dict)


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def stand_in(monkeypatch: pytest.MonkeyPatch, fetch: Any) -> None:
    """Put a module in the place of torchvision, which takes seconds to import."""
    torchvision = types.ModuleType("torchvision")
    torchvision.datasets = types.SimpleNamespace(MNIST=fetch)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", torchvision)


@pytest.mark.usefixtures("no_proxy")
def test_host_that_answers_is_no_problem(listening: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.create_connection
    asked = []

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        asked.append(address)
        return real(("127.0.0.1", listening), timeout=timeout)

    monkeypatch.setattr(socket, "create_connection", connect)
    assert network_problem("MNIST") == ""
    assert network_problem("FashionMNIST") == ""
    assert [port for _, port in asked] == [443, 80]


@pytest.mark.usefixtures("no_proxy")
def test_host_that_is_not_there_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: tuple[str, int], timeout: float) -> socket.socket:
        raise OSError("unreachable")

    monkeypatch.setattr(socket, "create_connection", refuse)
    assert network_problem("CIFAR10") == "no connection to www.cs.toronto.edu:443 (unreachable)"


def test_proxy_is_asked_instead_of_the_host(listening: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "getproxies", lambda: {"https": f"http://127.0.0.1:{listening}"})
    assert network_problem("MNIST") == ""


def test_files_come_into_place_whole_and_archives_stay_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fetch(folder: str, *, download: bool) -> None:
        assert download
        print("Extracting")
        raw = Path(folder) / "MNIST" / "raw"
        raw.mkdir(parents=True)
        (raw / "images").write_bytes(b"new")
        (raw / "images.gz").write_bytes(b"packed")
        (raw / "labels").write_bytes(b"new")

    stand_in(monkeypatch, fetch)
    root = tmp_path / "made" / "now"
    (root / "MNIST" / "raw").mkdir(parents=True)
    (root / "MNIST" / "raw" / "labels").write_bytes(b"was there")
    assert download("MNIST", root=root) == ""
    files = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    assert files == {"MNIST/raw/images": b"new", "MNIST/raw/labels": b"was there"}
    out, err = capfd.readouterr()
    assert out == ""
    assert "Extracting" in err


def test_failure_leaves_nothing_behind_and_tells_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(folder: str, *, download: bool) -> None:
        (Path(folder) / "half").write_bytes(b"half")
        assert socket.getdefaulttimeout()
        raise RuntimeError("Error downloading images")

    stand_in(monkeypatch, fetch)
    assert download("MNIST", root=tmp_path / "data") == "RuntimeError: Error downloading images"
    assert list((tmp_path / "data").iterdir()) == []
    assert socket.getdefaulttimeout() is None


def test_torchvision_that_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert "pip install" not in download("MNIST", root=tmp_path)
    assert "torchvision is not installed" in download("MNIST", root=tmp_path)


def test_root_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "Error" in download("MNIST", root=tmp_path / "file" / "below")
