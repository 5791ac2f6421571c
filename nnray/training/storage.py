"""Where checkpoints and histories live: a folder of this machine, or one that a URI names.

Both give the same promise. What was committed is there whole or not at all: a folder of this
machine is renamed into place; in an object store, which can't rename, a group of files counts
from the moment that its last file is there, and whoever reads verifies it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from nnray.durable import append_json, read_json_lines, sync, write_bytes
from nnray.errors import RunError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


class Folder(Protocol):
    """A place for files, all of them small enough for memory."""

    def child(self, name: str, /) -> Self:
        """The folder ``name`` in this one, there or not."""

    def names(self) -> list[str]:
        """What is in it, files and folders; nothing if it isn't there."""

    def read(self, name: str, /) -> bytes:
        """A file; ``OSError`` if it can't be read."""

    def put(self, name: str, data: bytes, /) -> None:
        """Write a file, whole or not at all."""

    def commit(self, name: str, files: Mapping[str, bytes | memoryview], /) -> None:
        """Write a folder of files, whole or not at all; one of that name is replaced."""

    def remove(self, name: str, /) -> None:
        """Remove a file or folder, if it is there."""

    def append(self, name: str, value: Mapping[str, Any], /) -> None:
        """Append a line to a list; it is safe when this returns."""

    def lines(self, name: str, /) -> Iterator[dict[str, Any]]:
        """The lines of a list in order; torn ones are passed over."""


class LocalFolder:
    """A folder of this machine, or of a file system that is mounted here.

    Args:
        path: There or not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def child(self, name: str) -> LocalFolder:
        """The folder ``name`` in this one."""
        return LocalFolder(self.path / name)

    def names(self) -> list[str]:
        """What is in it, but for what is half-written."""
        return sorted(entry.name for entry in self.path.glob("[!.]*"))

    def read(self, name: str) -> bytes:
        """A file."""
        return (self.path / name).read_bytes()

    def put(self, name: str, data: bytes) -> None:
        """Write a file aside, fsync and rename it."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_bytes(self.path / name, data)

    def commit(self, name: str, files: Mapping[str, bytes | memoryview]) -> None:
        """Write a folder aside, fsync and rename it."""
        target, aside = self.path / name, self.path / f".{name}.{os.getpid()}.tmp"
        try:
            aside.mkdir(parents=True)
            for file, data in files.items():
                _write(aside / file, data)
            sync(aside)
            if target.exists():
                shutil.rmtree(target)
            aside.rename(target)
            sync(self.path)
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)
            raise

    def remove(self, name: str) -> None:
        """Remove a file or folder."""
        path = self.path / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what killed processes have left half-written."""
        for path in self.path.glob(".epoch-*.tmp"):
            shutil.rmtree(path, ignore_errors=True)

    def append(self, name: str, value: Mapping[str, Any]) -> None:
        """Append a line to a file, fsynced."""
        append_json(self.path / name, value)

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """The lines of a file."""
        return read_json_lines(self.path / name)


class RemoteFolder:
    """A folder in a file system that pyarrow or fsspec knows, such as an object store.

    Args:
        files: The file system.
        path: In it, without a scheme.
    """

    def __init__(self, files: FileSystem, path: str) -> None:
        self._files, self._path = files, path.rstrip("/")

    def __str__(self) -> str:
        return f"{self._files.type_name}:{self._path}"

    def child(self, name: str) -> RemoteFolder:
        """The folder ``name`` in this one."""
        return RemoteFolder(self._files, self._at(name))

    def names(self) -> list[str]:
        """What is in it."""
        from pyarrow.fs import FileSelector

        found = self._files.get_file_info(FileSelector(self._path, allow_not_found=True))
        return sorted(info.base_name for info in found)

    def read(self, name: str) -> bytes:
        """A file."""
        with self._files.open_input_stream(self._at(name)) as file:
            return bytes(file.read())

    def put(self, name: str, data: bytes | memoryview) -> None:
        """Write a file; an object store shows it when it is whole."""
        self._files.create_dir(self._path, recursive=True)
        with self._files.open_output_stream(self._at(name)) as file:
            file.write(data)

    def commit(self, name: str, files: Mapping[str, bytes | memoryview]) -> None:
        """Write the files in order: the last one makes the folder count."""
        self.remove(name)
        for file, data in files.items():
            self.child(name).put(file, data)

    def remove(self, name: str) -> None:
        """Remove a file or folder."""
        from pyarrow.fs import FileType

        kind = self._files.get_file_info(self._at(name)).type
        if kind == FileType.Directory:
            self._files.delete_dir(self._at(name))
        elif kind == FileType.File:
            self._files.delete_file(self._at(name))

    def sweep(self) -> None:
        """Nothing: what is half-written bears its own name, and is replaced."""

    def append(self, name: str, value: Mapping[str, Any]) -> None:
        """Add an object to a folder of them, which sort by time: objects can't be appended to."""
        self.child(name).put(f"{time.time_ns():020d}.json", json.dumps(value).encode())

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """The objects of a folder."""
        folder = self.child(name)
        for file in folder.names():
            try:
                value = json.loads(folder.read(file))
            except ValueError:
                continue
            if isinstance(value, dict):
                yield value

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"


def as_folder(where: Path | LocalFolder | RemoteFolder) -> LocalFolder | RemoteFolder:
    """A path as a folder; what is one already comes back."""
    return LocalFolder(where) if isinstance(where, Path) else where


def open_folder(uri: str) -> LocalFolder | RemoteFolder:
    """The folder that a path or a URI names: ``/mnt/runs``, ``s3://bucket/runs``, ...

    Raises:
        RunError: No file system is known for it, or it can't be reached.
    """
    if "://" not in uri:
        return LocalFolder(Path(uri).absolute())
    if uri.startswith("file://"):
        return LocalFolder(Path(uri.removeprefix("file://")))
    try:
        return RemoteFolder(*_file_system(uri))
    except (OSError, ValueError, ImportError) as error:
        raise RunError(
            f"can't open the storage {uri!r}: {error}: give a path that all nodes share, or a URI of "
            "pyarrow (s3://, gs://, hdfs://) or of an fsspec package that is installed"
        ) from error


def _file_system(uri: str) -> tuple[FileSystem, str]:
    from pyarrow import fs

    try:
        found: tuple[FileSystem, str] = fs.FileSystem.from_uri(uri)
    except ValueError:  # pyarrow doesn't know the scheme
        import fsspec  # type: ignore[import-untyped]

        files, path = fsspec.core.url_to_fs(uri)
        return fs.PyFileSystem(fs.FSSpecHandler(files)), path
    return found


def _write(path: Path, data: bytes | memoryview) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
