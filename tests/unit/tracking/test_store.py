"""Where records go by default, and each way in which a store can't be used, said at once."""

from __future__ import annotations

import http.server
import socket
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from nnray.errors import TrackingError
from nnray.tracking import check, resolve_uri
from nnray.tracking.store import artifact_root, schema_revisions, sqlite_file


def database(path: Path, version: str | None, *, table: str = "experiments") -> Path:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"CREATE TABLE {table} (name TEXT)")
        if version is not None:
            connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
            connection.execute("INSERT INTO alembic_version VALUES (?)", (version,))
    return path


def test_the_default_is_mlflows_own_in_this_folder(tmp_path: Path) -> None:
    from mlflow.tracking import get_tracking_uri

    assert resolve_uri(None) == f"sqlite:///{tmp_path}/mlflow.db"
    assert resolve_uri(None) == get_tracking_uri()
    assert artifact_root(resolve_uri(None), "digits") is None


def test_the_variable_comes_before_the_default_and_the_argument_before_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracker:5000")
    assert resolve_uri(None) == "http://tracker:5000"
    assert resolve_uri("https://other") == "https://other"


def test_a_relative_file_is_made_absolute(tmp_path: Path) -> None:
    assert resolve_uri("sqlite:///runs/a.db") == f"sqlite:///{tmp_path}/runs/a.db"
    assert resolve_uri("sqlite:////data/a.db?timeout=5") == "sqlite:////data/a.db?timeout=5"


@pytest.mark.parametrize("name", ["plain", "a b", "100%", "50%41", "what?", "größe", "it's"])
def test_any_folder_can_hold_a_store(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy import create_engine

    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    uri = check()
    assert resolve_uri(uri) == uri
    assert sqlite_file(uri) == folder / "mlflow.db"
    engine = create_engine(uri)
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE a (b TEXT)")
    engine.dispose()
    assert [file.name for file in folder.iterdir()] == ["mlflow.db"]


def test_files_stand_beside_a_data_base_that_stands_elsewhere(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/other/a.db"
    assert artifact_root(uri, "my net/é") == f"{tmp_path}/other/mlruns/my net_é"
    assert artifact_root("http://tracker", "a") is None


@pytest.mark.parametrize("uri", ["mlruns", "./mlruns", "file:///tmp/mlruns", "file:mlruns", "/abs/mlruns"])
def test_a_file_store_is_refused_with_what_to_give_instead(uri: str) -> None:
    with pytest.raises(TrackingError, match=r"file store.*sqlite:///"):
        check(uri)


def test_an_unknown_kind_of_store_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(TrackingError, match=r"'ftp://x'.*allowed: http, https, sqlite"):
        check("ftp://x")


def test_checking_makes_nothing(tmp_path: Path) -> None:
    assert check() == f"sqlite:///{tmp_path}/mlflow.db"
    check("sqlite:///deep/folder/a.db")
    assert list(tmp_path.iterdir()) == []


def test_checking_sqlite_imports_no_mlflow() -> None:
    import subprocess

    code = (
        "import sys; from nnray.tracking import check, MlflowTracker; check(); print('mlflow' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"


def test_the_newest_schema_is_that_of_mlflow() -> None:
    from mlflow.store.db.utils import _get_latest_schema_revision

    assert schema_revisions()[-1] == _get_latest_schema_revision()
    assert len(set(schema_revisions())) == len(schema_revisions())


def test_a_store_of_this_version_passes(tmp_path: Path) -> None:
    database(tmp_path / "mlflow.db", schema_revisions()[-1])
    assert check().endswith("mlflow.db")


def test_an_empty_file_passes_as_a_new_store(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    assert check().endswith("mlflow.db")


def test_an_older_store_is_refused_with_the_upgrade_command(tmp_path: Path) -> None:
    file = database(tmp_path / "mlflow.db", schema_revisions()[3])
    with pytest.raises(TrackingError, match=f"mlflow db upgrade sqlite:///{file}"):
        check()


def test_a_newer_store_is_refused_with_both_versions(tmp_path: Path) -> None:
    database(tmp_path / "mlflow.db", "ffff00001111")
    with pytest.raises(
        TrackingError, match=f"ffff00001111; this MLflow takes {schema_revisions()[-1]}.*newer"
    ):
        check()


def test_somebody_elses_data_base_is_refused(tmp_path: Path) -> None:
    database(tmp_path / "mlflow.db", None, table="customers")
    with pytest.raises(TrackingError, match="not MLflow's"):
        check()


def test_a_file_that_is_no_data_base_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("these are my notes, " * 100)
    with pytest.raises(TrackingError, match=r"mlflow\.db: file is not a database; move it away"):
        check()


def test_a_locked_store_is_refused_in_bounded_time(tmp_path: Path) -> None:
    file = database(tmp_path / "mlflow.db", schema_revisions()[-1])
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrackingError, match="locked: another program is writing to it"):
            check(timeout_s=0.1)
        other.execute("ROLLBACK")
    assert check()


def test_a_folder_where_nothing_can_be_written_is_refused() -> None:
    with pytest.raises(TrackingError, match=r"can't be written: /proc.*tracking\.uri=sqlite"):
        check("sqlite:////proc/nnray/mlflow.db")


def test_a_file_where_a_folder_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(TrackingError, match="can't be written"):
        check("sqlite:///notes/mlflow.db")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_a_server_that_is_not_there_is_refused() -> None:
    with pytest.raises(TrackingError, match=r"can't be used: .*see that the store is running"):
        check(f"http://127.0.0.1:{free_port()}")


@pytest.fixture
def silent_server() -> Iterator[int]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_server_that_says_nothing_is_given_up_and_its_password_kept(silent_server: int) -> None:
    with pytest.raises(TrackingError, match=r"http://me:\*\*\*@127.0.0.1.*: no answer within 0.2 s"):
        check(f"http://me:secret@127.0.0.1:{silent_server}", timeout_s=0.2)


class Forbidding(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def test_a_server_that_lets_nobody_in_is_refused() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Forbidding) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        with pytest.raises(TrackingError, match="403"):
            check(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()
