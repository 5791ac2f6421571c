"""What is shipped of a project: what git would, and the modules that the experiment names.

What is ignored stays at home, and so does what runs leave behind. A module of the user's that is not found
from the project's own folder goes along at the top of it, where every process of the job finds it.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pathspec

from nnray.config import Experiment
from nnray.config.tree import to_tree
from nnray.errors import ClusterError
from nnray.registry.source import find_file

_NEVER = {".git", ".venv", "__pycache__", "mlruns", "mlartifacts", ".ipynb_checkpoints"}
_GIT_S = 60.0


def gather(root: Path, file: Path, *, experiment: Experiment) -> dict[str, Path]:
    """All that a job needs of this machine: name in the upload to file.

    Args:
        root: The project's folder.
        file: The experiment file, in it.
        experiment: What that file says.

    Raises:
        ClusterError: Two modules would go by one name.
    """
    runs = root / experiment.tracking.dir
    listed = (name for name in list_files(root) if not (root / name).is_relative_to(runs))
    files = {name: root / name for name in listed}
    files[file.relative_to(root).as_posix()] = file
    for top in sorted(_modules(to_tree(experiment, defaults=False))):
        _add_module(files, top, root, file)
    if "nnray/__init__.py" not in files:
        package = Path(__file__).parents[2]
        files |= {f"nnray/{name}": package / name for name in list_files(package)}
    return files


def list_files(root: Path) -> list[str]:
    """The files of a folder that are not ignored, by name within it; links to folders are left out."""
    listed = _by_git(root)
    names = _walk(root) if listed is None else listed
    return sorted(name for name in names if _is_shipped(name) and (root / name).is_file())


def _is_shipped(name: str) -> bool:
    parts = name.split("/")
    return not (_NEVER & set(parts) or parts[-1].startswith("mlflow.db"))


def _by_git(root: Path) -> list[str] | None:
    """As git lists them; None where there is no git, or the folder is not of a repository."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=_GIT_S)
    except (OSError, subprocess.SubprocessError):
        return None
    names = []
    for name in filter(None, os.fsdecode(done.stdout).split("\0")):
        inner = root / name
        if inner.is_dir() and not inner.is_symlink():  # a repository in the repository
            names += [f"{name.rstrip('/')}/{below}" for below in list_files(inner)]
        else:
            names.append(name)
    return list(dict.fromkeys(names))


def _walk(root: Path, *, prefix: str = "", specs: tuple[tuple[str, Any], ...] = ()) -> Iterator[str]:
    """By hand, with the .gitignore of each folder on the way down."""
    ignore = root / ".gitignore"
    if ignore.is_file():
        lines = ignore.read_text(encoding="utf-8", errors="replace").splitlines()
        specs = (*specs, (prefix, pathspec.GitIgnoreSpec.from_lines(lines)))
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        name = f"{prefix}{entry.name}"
        is_folder = entry.is_dir(follow_symlinks=False)
        if entry.name in _NEVER or _is_ignored(f"{name}/" if is_folder else name, specs):
            continue
        if is_folder:
            yield from _walk(Path(entry.path), prefix=f"{name}/", specs=specs)
        else:
            yield name


def _is_ignored(name: str, specs: tuple[tuple[str, Any], ...]) -> bool:
    """What the innermost .gitignore that has an opinion says."""
    for prefix, spec in reversed(specs):
        verdict = spec.check_file(name.removeprefix(prefix)).include
        if verdict is not None:
            return bool(verdict)
    return False


def _modules(tree: Any) -> set[str]:
    """Top-level names of the modules of ``module:function`` components."""
    if isinstance(tree, Mapping):
        name = tree.get("name")
        own = {name.partition(".")[0].partition(":")[0]} if isinstance(name, str) and ":" in name else set()
        return own.union(*(_modules(value) for value in tree.values()))
    if isinstance(tree, list):
        return set().union(*(_modules(value) for value in tree))
    return {tree.partition(".")[0].partition(":")[0]} if isinstance(tree, str) and ":" in tree else set()


def _add_module(files: dict[str, Path], top: str, root: Path, file: Path) -> None:
    source = find_file(top, search=(str(file.parent), str(root)))
    if source is None or _is_installed(source):
        return
    if source.name != "__init__.py":
        found = {source.name: source}
    else:
        found = {f"{top}/{name}": source.parent / name for name in list_files(source.parent)}
    for name, path in found.items():
        if name in files and files[name].read_bytes() != path.read_bytes():
            raise ClusterError(
                f"module {top!r} is {source}, but the project has another file {name}: rename one of the two"
            )
        files[name] = path


def _is_installed(source: Path) -> bool:
    """Whether it came with a package, which the cluster's image must then have too."""
    places = {sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib", "platstdlib")}
    return any(source.is_relative_to(place) for place in places) or "site-packages" in source.parts
