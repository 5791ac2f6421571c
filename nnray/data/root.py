"""Where data sets stand: ``data.root``, else ``$NNRAY_DATA``, else a cache folder of the user."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from nnray.data.download import download, network_problem
from nnray.errors import DataError


def data_root(root: str | None) -> Path:
    """The folder to look for data sets in, absolute; it need not exist.

    Args:
        root: ``data.root`` of the experiment.
    """
    chosen = root or os.environ.get("NNRAY_DATA")
    if chosen:
        return Path(chosen).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser().absolute() / "nnray" / "data"


def told_root() -> str | None:
    """What ``$NNRAY_DATA`` says here, for workers on machines where it says nothing."""
    told = os.environ.get("NNRAY_DATA")
    return str(Path(told).expanduser().absolute()) if told else None


def take_root(told: str | None) -> None:
    """Look for data where another process does, unless this machine's ``$NNRAY_DATA`` says where.

    Args:
        told: What ``told_root`` gave there.
    """
    if told and not os.environ.get("NNRAY_DATA"):
        os.environ["NNRAY_DATA"] = told


def existing_root(root: str | None, *, name: str) -> Path:
    """The folder of a data set that has no published name: the user must have said which.

    Args:
        root: ``data.root`` of the experiment.
        name: The data set, for the message.

    Raises:
        DataError: It is not given, or not there.
    """
    path = data_root(root)
    if not path.exists():
        said = f"data.root is {root!r}" if root else "data.root is not set"
        raise DataError(f"{name}: nothing is at {path} ({said}); set data.root to what holds the data")
    return path


def find_files(
    root: str | None, *, name: str, source: str, files: Mapping[str, Sequence[str]]
) -> dict[str, Path]:
    """Find the files of a published data set; download them if they are missing and can be had.

    Args:
        root: ``data.root`` of the experiment.
        name: The data set, for messages.
        source: Its class in ``torchvision.datasets``.
        files: For each file, the places below the root where it may stand, best first.

    Returns:
        The first place of each file that exists.

    Raises:
        DataError: Names each missing file, every place looked at, and what to do.
    """
    folder = data_root(root)
    if _missing(folder, files):
        problem = network_problem(source) or download(source, root=folder)
        if missing := _missing(folder, files):
            raise DataError(_advice(name, folder, source=source, missing=missing, problem=problem))
    return {key: next(p for p in _places(folder, v) if p.is_file()) for key, v in files.items()}


def _places(folder: Path, places: Sequence[str]) -> list[Path]:
    return [folder / place for place in places]


def _missing(folder: Path, files: Mapping[str, Sequence[str]]) -> dict[str, list[Path]]:
    looked = {key: _places(folder, places) for key, places in files.items()}
    return {key: places for key, places in looked.items() if not any(p.is_file() for p in places)}


def _advice(name: str, folder: Path, *, source: str, missing: dict[str, list[Path]], problem: str) -> str:
    listed = "\n".join(f"  {key}: looked for {', '.join(map(str, at))}" for key, at in missing.items())
    command = f"from torchvision.datasets import {source}; {source}({str(folder)!r}, download=True)"
    return (
        f"{name}: {len(missing)} file(s) are missing:\n{listed}\n"
        f"They could not be downloaded: {problem}\n"
        "Set data.root or $NNRAY_DATA to the folder that has them, or, where there is a network, run\n"
        f'  python -c "{command}"'
    )
