"""The files of a streamed set: in a folder of this machine, or in an object store by its URI."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
from pyarrow import fs

from nnray.data.root import existing_root
from nnray.data.stream import Source, Streams
from nnray.errors import DataError

_PART = re.compile(r"(train|val|test)(?:id|idation|ing)?(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Place:
    """A folder or a file, wherever it is.

    Args:
        filesystem: What reads it.
        path: In that file system.
        shown: As the user wrote it.
    """

    filesystem: fs.FileSystem
    path: str
    shown: str


def locate(root: str | None, *, name: str, below: str = "") -> Place:
    """Where a data set stands.

    Args:
        root: ``data.root``: a path, or a URI that pyarrow or fsspec know.
        name: The data set, for messages.
        below: Path below the root.

    Raises:
        DataError: It is not there, or nothing knows the URI.
    """
    if root is None or "://" not in root:
        path = str(existing_root(root, name=name) / below)
        place = Place(fs.LocalFileSystem(), path, path)
    else:
        shown = "/".join([root.rstrip("/"), below]) if below else root
        filesystem, path = _by_uri(shown, name=name)
        place = Place(filesystem, path.rstrip("/"), shown)
    try:
        [info] = place.filesystem.get_file_info([place.path])
    except OSError as error:
        raise DataError(f"{name}: {place.shown} can't be read: {error}; check address and keys") from error
    if info.type == fs.FileType.NotFound:
        raise DataError(f"{name}: nothing is at {place.shown}; set data.root to what holds the data")
    return place


def _by_uri(uri: str, *, name: str) -> tuple[fs.FileSystem, str]:
    try:
        filesystem, path = fs.FileSystem.from_uri(uri)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, NotImplementedError):
        return _by_fsspec(uri, name=name)
    except OSError as error:
        raise DataError(f"{name}: {uri} can't be read: {error}; check address and keys") from error
    return filesystem, path


def _by_fsspec(uri: str, *, name: str) -> tuple[fs.FileSystem, str]:
    import fsspec  # type: ignore[import-untyped]

    try:
        found, path = fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError, OSError) as error:
        allowed = "a path, or a URI such as s3://, gs://, hdfs://, file:// or one that fsspec knows"
        raise DataError(f"{name}: data.root is {uri!r}: {error}; allowed: {allowed}") from error
    return fs.PyFileSystem(fs.FSSpecHandler(found)), str(path)


def files_below(place: Place, suffixes: Sequence[str]) -> list[str]:
    """Paths of all files with one of the suffixes, sorted; hidden ones are left out."""
    [info] = place.filesystem.get_file_info([place.path])
    if info.type == fs.FileType.File:
        return [place.path]
    found = place.filesystem.get_file_info(fs.FileSelector(place.path, recursive=True))
    return sorted(
        entry.path
        for entry in found
        if entry.type == fs.FileType.File
        and entry.path.lower().endswith(tuple(suffixes))
        and not any(part[0] in "._" for part in relative(entry.path, place).parts)
    )


def relative(path: str, place: Place) -> PurePosixPath:
    """A file's path below its place."""
    below = PurePosixPath(path.removeprefix(place.path).lstrip("/"))
    return below if below.parts else PurePosixPath(PurePosixPath(path).name)


def by_split(place: Place, suffixes: Sequence[str], *, name: str) -> dict[str, tuple[str, ...]]:
    """Files by split: the one that their folder or their name begins with; all are of train if none says so.

    Raises:
        DataError: There are none, or some are of no split where others are.
    """
    files = files_below(place, suffixes)
    if not files:
        raise DataError(f"{name}: no {' or '.join(suffixes)} file at {place.shown}")
    split: dict[str, list[str]] = {}
    for path in files:
        match = _PART.match(relative(path, place).as_posix())
        split.setdefault(match[1].lower() if match else "", []).append(path)
    rest = split.pop("", [])
    if rest and "train" in split:
        listed = ", ".join(relative(path, place).as_posix() for path in rest[:5])
        raise DataError(
            f"{name}: {len(rest)} file(s) at {place.shown} are of no split: {listed}; expected names or "
            "folders that begin with train, val or test for all, or for none"
        )
    split.setdefault("train", rest)
    if not split["train"]:
        raise DataError(
            f"{name}: {place.shown} has files of {', '.join(sorted(split))} only; none to train on"
        )
    return {part: tuple(paths) for part, paths in split.items()}


def streams_of(
    files: Container[str], source: Callable[[str], Source], *, hold_back: float, split_seed: int
) -> Streams:
    """The splits that there are files of; that of test is opened only when it is called for.

    Args:
        files: By split, as ``by_split`` gives them.
        source: Opens those of a split.
        hold_back: What to test on where there are no files of test.
        split_seed: Which of them.
    """
    return Streams(
        train=source("train"),
        val=source("val") if "val" in files else None,
        test=(lambda: source("test")) if "test" in files else None,
        hold_back=hold_back,
        split_seed=split_seed,
    )


def in_memory(streams: Streams, *, name: str) -> Any:
    """Read all of it now."""
    from nnray.data.stream_memory import resident  # brings torch, which processes that only read do without

    return resident(streams, name=name)
