"""A new SQLite store, whole or not there.

MLflow migrates a new data base through all its versions in place, for a second or more. A kill in
between would leave one that neither MLflow nor ``check`` takes; so it is made aside and put in
its place when it is done.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from nnray.tracking.client import prepare


def create_database(file: Path) -> None:
    """Make an empty MLflow data base, unless there is one. Imports MLflow."""
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(file)
    aside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        _migrate(aside)
        # A link, not a rename: another process may have been quicker, and its data base stays.
        with contextlib.suppress(FileExistsError):
            os.link(aside, file)
    finally:
        aside.unlink(missing_ok=True)


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
