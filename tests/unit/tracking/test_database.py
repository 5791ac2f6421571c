"""A new store is whole or not there, whoever is killed or quicker."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from nnray.tracking import check, database
from nnray.tracking.client import make_client
from nnray.tracking.database import create_database


def test_a_new_data_base_is_one_that_mlflow_takes(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "mlflow.db"
    create_database(file)
    uri = f"sqlite:///{file}"
    check(uri)
    assert [e.name for e in make_client(uri).search_experiments()] == ["Default"]
    assert [path.name for path in file.parent.iterdir()] == ["mlflow.db"]


def test_one_that_is_there_stays(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    file.write_bytes(b"somebody's")
    create_database(file)
    assert file.read_bytes() == b"somebody's"


def test_a_kill_in_the_middle_leaves_no_half_made_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def half(file: Path) -> None:
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        raise Killed

    file = tmp_path / "mlflow.db"
    with monkeypatch.context() as patch:
        patch.setattr(database, "_migrate", half)
        with pytest.raises(Killed):
            create_database(file)
    assert not file.exists()
    create_database(file)
    check(f"sqlite:///{file}")


def test_the_quicker_process_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mlflow.db"

    def overtaken(aside: Path) -> None:
        aside.write_bytes(b"ours")
        file.write_bytes(b"theirs")

    monkeypatch.setattr(database, "_migrate", overtaken)
    create_database(file)
    assert file.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [file]


def test_what_dead_processes_began_is_removed_and_the_living_go_on(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = tmp_path / f".mlflow.db.{ended.pid}.tmp"
    alive = tmp_path / f".mlflow.db.{os.getppid()}.tmp"
    for path in (dead, alive):
        path.write_bytes(b"half")
    create_database(tmp_path / "mlflow.db")
    assert not dead.exists()
    assert alive.exists()
