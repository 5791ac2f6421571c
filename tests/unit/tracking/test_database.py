"""A new store is whole or not there, whoever is killed or quicker."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from nnray.tracking import check, database
from nnray.tracking.client import make_client
from nnray.tracking.database import create_database, template_file


def test_a_new_data_base_is_one_that_mlflow_takes(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "mlflow.db"
    create_database(file)
    uri = f"sqlite:///{file}"
    check(uri)
    assert [e.name for e in make_client(uri).search_experiments()] == ["Default"]
    assert [path.name for path in file.parent.iterdir()] == ["mlflow.db"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """What making a data base leaves in the cache."""
    create_database(tmp_path / "first" / "mlflow.db")
    assert template_file().is_relative_to(tmp_path)
    return template_file()


def test_the_next_one_is_a_copy(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_migrate", lambda file: pytest.fail("migrated again"))
    file = tmp_path / "second" / "mlflow.db"
    create_database(file)
    assert not check(f"sqlite:///{file}").problem
    assert file.stat().st_ino != template.stat().st_ino
    assert [path.name for path in template.parent.iterdir()] == [template.name]


@pytest.mark.parametrize("damage", ["cut", "used", "old", "none"])
def test_a_template_that_is_not_whole_is_made_anew(template: Path, tmp_path: Path, damage: str) -> None:
    with contextlib.closing(sqlite3.connect(template, isolation_level=None)) as connection:
        if damage == "used":
            connection.execute(
                "INSERT INTO runs (run_uuid, status, lifecycle_stage) VALUES ('a', 'RUNNING', 'active')"
            )
        elif damage == "old":
            connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    if damage == "cut":
        template.write_bytes(template.read_bytes()[:5000])
    elif damage == "none":
        template.unlink()
    for name in ("second", "third"):
        file = tmp_path / name / "mlflow.db"
        create_database(file)
        assert not check(f"sqlite:///{file}").problem
        with contextlib.closing(sqlite3.connect(file)) as connection:
            assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)


def test_a_cache_that_can_not_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    create_database(tmp_path / "mlflow.db")
    assert not check(f"sqlite:///{tmp_path / 'mlflow.db'}").problem


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
    assert [path for path in tmp_path.iterdir() if path.is_file()] == [file]


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
