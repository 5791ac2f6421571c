"""A new SQLite store, whole or not there.

MLflow migrates a new data base through all its versions in place, for a second or more. A kill in
between would leave one that neither MLflow nor ``check`` takes; so it is made aside and put in
its place when it is done. What came of it is kept in the user's cache, for the next new folder.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import sqlite3
from pathlib import Path

from nnray.tracking.client import prepare
from nnray.tracking.store import schema_revisions


def create_database(file: Path) -> None:
    """Make an empty MLflow data base, unless there is one. Imports MLflow."""
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(file)
    aside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        _fill(aside, template_file())
        # A link, not a rename: another process may have been quicker, and its data base stays.
        with contextlib.suppress(FileExistsError):
            os.link(aside, file)
    finally:
        aside.unlink(missing_ok=True)


def template_file() -> Path:
    """Where an empty data base of the installed MLflow is kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser().absolute()
    return cache / "nnray" / f"mlflow-{importlib.metadata.version('mlflow')}.db"


def _fill(file: Path, template: Path) -> None:
    """Make an empty data base: a copy of the template; where that is not whole, by migrating."""
    with contextlib.suppress(OSError):
        shutil.copyfile(template, file)
        if _is_whole(file):
            return
        file.unlink()
    _migrate(file)
    aside = template.with_name(f".{template.name}.{os.getpid()}.tmp")
    with contextlib.suppress(OSError):
        template.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, aside)
        aside.replace(template)


def _is_whole(file: Path) -> bool:
    """Whether a data base is intact, at the installed MLflow's version, and holds no run."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(file)) as connection:
        checks = "PRAGMA quick_check", "SELECT version_num FROM alembic_version", "SELECT count(*) FROM runs"
        found = [connection.execute(check).fetchall() for check in checks]
        return found == [[("ok",)], [(schema_revisions()[-1],)], [(0,)]]
    return False


def _migrate(file: Path) -> None:
    prepare()
    from mlflow.store.db import utils

    engine = utils.create_sqlalchemy_engine_with_retry(f"sqlite:///{file}")  # type: ignore[no-untyped-call]
    try:
        utils._initialize_tables(engine)  # type: ignore[no-untyped-call]
    finally:
        engine.dispose()


def _remove_leftovers(file: Path) -> None:
    """Remove what killed processes began."""
    for path in file.parent.glob(f".{file.name}.*.tmp*"):
        pid = path.name.removeprefix(f".{file.name}.").split(".", 1)[0]
        if pid.isdigit() and not _is_alive(int(pid)):
            path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
