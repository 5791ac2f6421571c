"""A run under a name of the caller's: given again, the name goes on with the run that bears it.

So a driver that is started again, by Kubernetes, Slurm or ``nnray submit``, takes up its own run.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nnray.config import Experiment, dump
from nnray.errors import RunError
from nnray.runners.folder import RunFolder, create, runs
from nnray.runners.pinned import pinned

_FILE = "once.json"


def begin(
    experiment: Experiment,
    verb: str,
    *,
    once: str | None = None,
    search: Sequence[str] = (),
    files: Mapping[str, Mapping[str, Any]] | None = None,
) -> RunFolder:
    """The folder of a new run, or of the one that was begun under this name.

    Args:
        experiment: What it runs.
        verb: ``train`` or ``sweep``.
        once: The name; None for a new run in any case.
        search: As for ``folder.create``.
        files: Likewise.

    Raises:
        RunError: Another experiment was begun under this name.
    """
    if once is None:
        return create(pinned(experiment), verb, search=search, files=files)
    if not once or once.startswith(".") or "/" in once or not once.isprintable():
        raise RunError(f"--once {once!r}: a name has no '/', and does not begin with '.'")
    root = Path(experiment.tracking.dir).absolute()
    about = {"name": once, "verb": verb, "sha256": hashlib.sha256(dump(experiment).encode()).hexdigest()}
    with _alone(root):
        for run in runs(root):
            begun = _read(run)
            if begun.get("name") == once:
                return _same(run, begun, about)
        return create(pinned(experiment), verb, search=search, files={**(files or {}), _FILE: about})


def _same(run: RunFolder, begun: Mapping[str, Any], about: Mapping[str, Any]) -> RunFolder:
    if begun == about:
        return run
    what = "another experiment" if begun["verb"] == about["verb"] else f"a {begun['verb']}"
    raise RunError(
        f"{about['name']!r} is the name of {run.name}, which is {what}: give this one another name, or "
        f"`nnray resume {run.name}` to go on with that one"
    )


def _read(run: RunFolder) -> dict[str, Any]:

    path = run.path / _FILE
    return json.loads(path.read_text()) if path.exists() else {}


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One process at a time looks for a name and takes it."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (root / ".once.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise RunError(
            f"can't make a folder for this run in {root}: {error.strerror}: set tracking.dir"
        ) from error
