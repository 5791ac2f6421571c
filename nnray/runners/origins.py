"""Where a model is: in a run's folder, in the store, or in a folder of files that somebody gave.

What comes from the store that runs are recorded in, or from a run among one's own, is the user's own. A
folder that is named by its path is not: it may have come from anywhere. Modules that a model names are looked
for only once it is known that they may run, and after all that Python finds by itself.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnray.assembly.described import ABOUT, WEIGHTS, About, read_about
from nnray.errors import RunError
from nnray.runners import folder as folders
from nnray.runners.folder import RunFolder
from nnray.tracking.store import resolve_uri
from nnray.tracking.stored import StoredModel, fetch_files, find_stored

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_FUNCTION = re.compile(r"[^\W\d][\w.]*:[^\W\d]\w*")
"""``module:function``, wherever it stands in a description: components have a short form, too."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a model is from; fields are empty where that is not known.

    Args:
        tracking_uri: The store that findings about it are recorded in.
        run_id: The store's id of the run that made it.
        run: Our own key of that run.
        mlflow_experiment: Name of the MLflow experiment that the run is in.
        model_uri: What MLflow loads it by.
        model_id: The store's id of it.
        name: It is registered under.
        version: Of that name.
        folder: Of the run, where that is on this machine.
        step: Epoch or round of its weights.
        sha256: Of its weights, as they were logged.
    """

    tracking_uri: str
    run_id: str = ""
    run: str = ""
    mlflow_experiment: str = ""
    model_uri: str = ""
    model_id: str = ""
    name: str = ""
    version: str = ""
    folder: Path | None = None
    step: int = 0
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """A model's files.

    Args:
        origin: Where they are from.
        path: Their folder, or the one file.
        described: What the model is; None where the files don't say.
        weights: As a file of safetensors; empty where there are none.
        is_own: Whether they come from the user's own store.
        search: Folders of the modules that the run was begun with.
    """

    origin: Origin
    path: Path
    described: About | None = None
    weights: bytes = b""
    is_own: bool = False
    search: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The model, for messages."""
        return self.origin.model_uri or str(self.path)


def find(reference: str, *, root: Path, tracking: str | None = None) -> Found:
    """Find a model by any name that people have for it.

    Args:
        reference: As for ``open_subject``.
        root: The folder of the runs' folders.
        tracking: The store.

    Raises:
        RunError: There is no such model.
        TrackingError: The store can't be asked.
    """
    path = Path(reference).expanduser()
    if path.is_file() or any((path / name).is_file() for name in (ABOUT, "MLmodel")):
        return _read(path.absolute(), Origin(resolve_uri(tracking)))
    if (run := _local_run(reference, root)) is not None:
        return _of_run(run, tracking, is_own=run.path.parent == root.absolute())
    return _of_store(find_stored(reference, uri=tracking), root)


def require_known(found: Found, *, trust: bool) -> None:
    """Refuse a stranger's model whose description names functions beyond the catalog; else have them found.

    Raises:
        RunError: It does, and isn't trusted.
    """
    named = sorted(set(_user_code(found.described)))
    if named and not found.is_own and not trust:
        raise RunError(
            f"{found.where}: opening it would run {', '.join(named)}, and it is not from your own store: "
            "look at that code, then give --trust"
        )
    if named:
        search_modules([*found.search, Path.cwd()])


def search_modules(names: Sequence[Path | str]) -> None:
    """Let models name functions in modules that stand in these folders, behind all others."""
    for name in map(str, names):
        if name not in sys.path:
            sys.path.append(name)


def _local_run(reference: str, root: Path) -> RunFolder | None:
    for path in (Path(reference), root / reference):
        if (path / "run.json").is_file():
            return RunFolder(path.absolute())
    if not _RUN_ID.fullmatch(reference):
        return None
    return next((run for run in folders.runs(root) if (run.result or {}).get("run_id") == reference), None)


def _of_run(run: RunFolder, tracking: str | None, *, is_own: bool) -> Found:
    result = run.result
    if result is None:
        raise RunError(
            f"{run.name} has no model yet, it has not ended: `nnray resume {run.name}` goes on with it"
        )
    reference = result["model_uri"] or result["run_id"]
    if not reference:
        raise RunError(f"the model of {run.name} is in no store yet: `nnray sync` sends it")
    stored = find_stored(reference, uri=tracking or result["tracking_uri"])
    return _of_store(stored, run.path.parent, run.path, is_own=is_own)


def _of_store(stored: StoredModel, root: Path, folder: Path | None = None, *, is_own: bool = True) -> Found:
    if folder is None and stored.run:
        candidate = root / stored.run.partition("/")[0]
        folder = candidate.absolute() if (candidate / "run.json").is_file() else None
    search = RunFolder(folder).record.get("search", []) if folder is not None else []
    origin = Origin(
        tracking_uri=stored.uri,
        run_id=stored.run_id,
        run=stored.run,
        mlflow_experiment=stored.experiment,
        model_uri=stored.model_uri,
        model_id=stored.model_id,
        name=stored.name,
        version=stored.version,
        folder=folder,
        step=stored.step,
        sha256=stored.sha256,
    )
    return _read(fetch_files(stored), origin, is_own=is_own, search=tuple(search))


def _read(path: Path, origin: Origin, *, is_own: bool = False, search: tuple[str, ...] = ()) -> Found:
    if not (path / ABOUT).is_file():
        return Found(origin, path, is_own=is_own)
    if not (path / WEIGHTS).is_file():
        raise RunError(f"{path}: has no {WEIGHTS} beside {ABOUT}: the model was copied in part")
    described = read_about((path / ABOUT).read_bytes(), where=str(path / ABOUT))
    return Found(origin, path, described, (path / WEIGHTS).read_bytes(), is_own, search)


def _user_code(tree: Any) -> Iterator[str]:
    """Every name of a function of somebody's own, at any depth."""
    if isinstance(tree, str) and _FUNCTION.fullmatch(tree):
        yield tree
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    for child in children:
        yield from _user_code(child)
