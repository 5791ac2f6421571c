"""Which store a run writes to, and whether it can be written to: found out before a run starts.

The default is MLflow's own default in the working folder, made absolute, so that plain ``mlflow ui``
there shows the same. SQLite stores are checked without importing MLflow, which takes seconds.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from nnray.errors import TrackingError
from nnray.tracking.server import look
from nnray.tracking.tracker import clean_name

_SQLITE = re.compile(r"^(sqlite(?:\+\w+)?):///(?P<path>[^?]*)(?P<query>\?.*)?$")
_REVISION = re.compile(r"^(down_revision|revision)\s*(?::[^=]+)?=\s*[\"'](\w+)[\"']", re.MULTILINE)
_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")


def resolve_uri(uri: str | None) -> str:
    """The store's URI, absolute: as given, else ``$MLFLOW_TRACKING_URI``, else ``mlflow.db`` here.

    Raises:
        TrackingError: A folder, a file store, or a scheme that MLflow doesn't know.
    """
    given = uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    scheme = given.split(":", 1)[0].split("+", 1)[0]
    if scheme == "file" or (":" not in given and scheme != "databricks"):
        raise TrackingError(
            f"tracking.uri: {given!r} is a file store, which MLflow no longer takes; "
            f"give a data base, such as sqlite:///{Path(given.removeprefix('file:')).absolute()}/mlflow.db"
        )
    if scheme not in _SCHEMES:
        raise TrackingError(f"tracking.uri: unknown kind of store {given!r}; allowed: {', '.join(_SCHEMES)}")
    match = _SQLITE.match(given)
    if match is None:
        return given
    path = str(_path(match["path"])).replace("%", "%25").replace("?", "%3F")
    return f"{match[1]}:///{path}{match['query'] or ''}"


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store; None for any other kind."""
    match = _SQLITE.match(uri)
    return _path(match["path"]) if match else None


def _path(quoted: str) -> Path:
    """The path in a URI: SQLAlchemy takes ``%`` for the mark of a quoted character."""
    return Path(unquote(quoted)).expanduser().absolute()


def artifact_root(uri: str, experiment: str) -> str | None:
    """Where a new experiment keeps its files; None for a server's own default.

    For a SQLite store it is ``mlruns`` beside the data base, so that files don't depend on where a
    command was given.
    """
    file = sqlite_file(uri)
    if file is None:
        return None
    return str(file.parent / "mlruns" / clean_name(experiment).replace("/", "_"))


@dataclass(frozen=True, slots=True)
class Store:
    """A store as it was found.

    Args:
        uri: Absolute.
        problem: Why it is away, and what to do; empty if it is there. Records wait in the run's spool.
    """

    uri: str
    problem: str = ""


def check(uri: str | None = None, *, timeout_s: float = 10.0) -> Store:
    """See whether a store can be written to, without making anything in it.

    Returns:
        The store; with its problem if it is merely away, or busy.

    Raises:
        TrackingError: It can never be written to as it is: with what is wrong and what to do.
    """
    resolved = resolve_uri(uri)
    file = sqlite_file(resolved)
    if file is None:
        return Store(resolved, look(resolved, timeout_s=timeout_s))
    _check_folder(file.parent)
    return Store(resolved, _check_sqlite(file, min(timeout_s, 5.0)) if file.exists() else "")


def _check_folder(folder: Path) -> None:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise TrackingError(
            f"the tracking store can't be written: {existing}: {error.strerror}; "
            "give another place with tracking.uri=sqlite:////absolute/path/mlflow.db"
        ) from error


def _check_sqlite(file: Path, timeout_s: float) -> str:
    """Check a data base; the problem is that of one that is busy."""
    try:
        with closing(sqlite3.connect(file, timeout=timeout_s, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            versions = (
                connection.execute("SELECT version_num FROM alembic_version").fetchall()
                if ("alembic_version" in tables)
                else []
            )
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        problem = f"{file}: {_advice(error)}"
        if "locked" in str(error):
            return problem
        raise TrackingError(problem) from error
    _check_schema(file, tables, {version for (version,) in versions})
    return ""


def _check_schema(file: Path, tables: set[str], versions: set[str]) -> None:
    revisions = schema_revisions()
    newest = revisions[-1]
    if versions == {newest} or not tables:
        return
    if not versions:
        raise TrackingError(f"{file} is a data base, but not MLflow's; give another file with tracking.uri")
    found = ", ".join(sorted(versions))
    advice = (
        f"back it up, then run: mlflow db upgrade sqlite:///{file}"
        if versions <= set(revisions)
        else "it was written by a newer MLflow: install that one, or give another file with tracking.uri"
    )
    raise TrackingError(f"{file} has schema version {found}; this MLflow takes {newest}; {advice}")


def _advice(error: sqlite3.Error) -> str:
    text = str(error)
    if "locked" in text:
        return f"{text}: another program is writing to it; wait for it, or stop it (fuser shows which)"
    if "readonly" in text:
        return f"{text}: allow writing to it, or give another file with tracking.uri"
    return f"{text}; move it away to begin a new one, or give another file with tracking.uri"


@cache
def schema_revisions() -> tuple[str, ...]:
    """MLflow's schema versions, oldest first, read from its files without importing it."""
    spec = importlib.util.find_spec("mlflow")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "store" / "db_migrations" / "versions"
    after: dict[str | None, str] = {}
    for file in folder.glob("*.py"):
        fields = dict(_REVISION.findall(file.read_text(encoding="utf-8")))
        if "revision" in fields:
            after[fields.get("down_revision")] = fields["revision"]
    chain: list[str] = []
    while (following := after.get(chain[-1] if chain else None)) is not None:
        chain.append(following)
    return tuple(chain)
