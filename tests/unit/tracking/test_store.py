"""Where records go by default, and each way in which a store can't be used, said at once."""

from __future__ import annotations

import http.server
import re
import socket
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from nnray.errors import TrackingError
from nnray.tracking import Store, check, resolve_uri
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
    assert artifact_root(resolve_uri(None), "digits") == f"{tmp_path}/mlruns/digits"


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
    uri = check().uri
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
    assert check() == Store(f"sqlite:///{tmp_path}/mlflow.db")
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
    assert check().problem == ""


def test_an_empty_file_passes_as_a_new_store(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    assert check().problem == ""


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


def test_a_locked_store_is_busy_and_not_refused(tmp_path: Path) -> None:
    file = database(tmp_path / "mlflow.db", schema_revisions()[-1])
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "locked: another program is writing to it" in check(timeout_s=0.1).problem
        other.execute("ROLLBACK")
    assert check().problem == ""


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


def test_a_server_that_is_not_there_is_away() -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    store = check(uri)
    assert store.uri == uri
    assert re.search(r"can't be used: .*refused.*see that the store is running", store.problem)


def test_a_host_that_nobody_knows_is_away() -> None:
    assert "can't be used" in check("http://nowhere.invalid:5000").problem


@pytest.fixture
def silent_server() -> Iterator[int]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_server_that_says_nothing_is_given_up_and_its_password_kept(silent_server: int) -> None:
    problem = check(f"http://me:secret@127.0.0.1:{silent_server}", timeout_s=0.2).problem
    assert re.search(r"http://me:\*\*\*@127.0.0.1.*: no answer within 0.2 s", problem)
    assert "secret" not in problem


@contextmanager
def answering(status: int, text: str) -> Iterator[str]:
    """A server that has one answer to everything."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "text", "problem"),
    [
        (401, "", r"let you in: 401.*MLFLOW_TRACKING_TOKEN"),
        (403, '{"detail": "forbidden"}', "let you in: 403"),
        (404, "<html>not here</html>", "not an MLflow server: it answers 404"),
        (200, "<html>welcome</html>", "not an MLflow server"),
        (400, "{}", "not an MLflow server: it answers 400"),
    ],
)
def test_a_server_that_will_never_take_records_is_refused(status: int, text: str, problem: str) -> None:
    with answering(status, text) as uri, pytest.raises(TrackingError, match=problem):
        check(uri)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("text", ["", '{"error_code": "INTERNAL_ERROR", "message": "oops"}'])
def test_a_server_in_trouble_is_away(status: int, text: str) -> None:
    with answering(status, text) as uri:
        assert f"answers {status}" in check(uri).problem


def test_a_server_that_answers_passes() -> None:
    with answering(200, '{"experiments": []}') as uri:
        assert check(uri) == Store(uri)


@pytest.mark.parametrize("uri", ["postgresql://me:secret@127.0.0.1:1/mlflow", "mysql://127.0.0.1:1/mlflow"])
def test_a_data_base_whose_driver_is_missing_is_refused(uri: str) -> None:
    with pytest.raises(TrackingError, match="can't be used") as raised:
        check(uri)
    assert "secret" not in str(raised.value)
