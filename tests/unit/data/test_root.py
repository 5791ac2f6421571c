from __future__ import annotations

import os
from pathlib import Path

import pytest

from nnray.data import root as root_module
from nnray.data.root import data_root, existing_root, find_files, take_root, told_root
from nnray.errors import DataError

FILES = {"a": ("set/a", "set/a.gz"), "b": ("set/b", "set/b.gz")}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root_module, "network_problem", lambda source: "no network here")


def test_root_comes_from_the_argument_then_the_environment_then_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NNRAY_DATA", raising=False)
    assert data_root(None) == tmp_path / "cache" / "nnray" / "data"
    monkeypatch.setenv("NNRAY_DATA", str(tmp_path / "environment"))
    assert data_root(None) == tmp_path / "environment"
    assert data_root(str(tmp_path / "given")) == tmp_path / "given"


def test_root_is_absolute_and_knows_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_root("~/sets") == tmp_path / "sets"
    assert data_root("sets") == Path.cwd() / "sets"


def test_root_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing is at .*gone.*set data\.root"):
        existing_root(str(tmp_path / "gone"), name="image_folder")


def test_first_place_that_exists_is_taken(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for name in ("a", "a.gz", "b.gz"):
        (tmp_path / "set" / name).touch()
    found = find_files(str(tmp_path), name="x", source="MNIST", files=FILES)
    assert found == {"a": tmp_path / "set" / "a", "b": tmp_path / "set" / "b.gz"}


@pytest.mark.usefixtures("offline")
def test_each_missing_file_each_place_and_the_remedies_are_named(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a").touch()
    with pytest.raises(DataError) as caught:
        find_files(str(tmp_path), name="mnist", source="MNIST", files=FILES)
    text = str(caught.value)
    assert "mnist: 1 file(s) are missing" in text
    for part in (
        tmp_path / "set" / "b",
        tmp_path / "set" / "b.gz",
        "data.root",
        "$NNRAY_DATA",
        "no network here",
    ):
        assert str(part) in text
    assert f"MNIST('{tmp_path}', download=True)" in text
    assert str(tmp_path / "set" / "a.gz") not in text


def test_missing_files_are_downloaded_where_there_is_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(source: str, *, root: Path) -> str:
        assert source == "MNIST"
        (root / "set").mkdir()
        (root / "set" / "a").touch()
        (root / "set" / "b").touch()
        return ""

    monkeypatch.setattr(root_module, "network_problem", lambda source: "")
    monkeypatch.setattr(root_module, "download", fetch)
    assert set(find_files(str(tmp_path), name="mnist", source="MNIST", files=FILES)) == {"a", "b"}


def test_failed_download_is_told_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root_module, "network_problem", lambda source: "")
    monkeypatch.setattr(root_module, "download", lambda source, *, root: "URLError: refused")
    with pytest.raises(DataError, match="could not be downloaded: URLError: refused"):
        find_files(str(tmp_path), name="mnist", source="MNIST", files=FILES)


def test_a_worker_looks_where_its_driver_does_unless_its_machine_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NNRAY_DATA", "sets")
    told = told_root()
    assert told == str(tmp_path / "sets")
    monkeypatch.delenv("NNRAY_DATA")
    assert told_root() is None
    take_root(None)
    assert "NNRAY_DATA" not in os.environ
    take_root(told)
    assert data_root(None) == tmp_path / "sets"
    monkeypatch.setenv("NNRAY_DATA", "/elsewhere")
    take_root(told)
    assert data_root(None) == Path("/elsewhere")
