"""A spool on disk: what the store has not taken outlives an outage and a SIGKILL.

runs/digits-train-20260102-030405-ab12/spool/
    spool.json       version, and the store that the entries are for
    entries.jsonl    an entry a line, appended
    sent.json        up to which byte the store has them
    refused.jsonl    entries that the store would not take
    model-<id>/      files of models on their way

A line goes to the kernel in one write before ``append`` returns, and is never flushed to the disk: that
may take a second, on the training path. So a killed process loses nothing, a power cut the last seconds.
Files are named by their path below the run's folder, which may move; nothing outside it is ever read,
and nothing in it is unpickled, so that a spool from a stranger sends no more than what came with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from nnray.errors import RunError
from nnray.tracking.spool import Entry, find_below

VERSION = 1
_ABOUT, _ENTRIES, _SENT, _REFUSED = "spool.json", "entries.jsonl", "sent.json", "refused.jsonl"
_LOCK = "lock"
_GLANCE_S = 0.02
"""``unsent`` takes the lock for an instant; whoever wants it for good tries again."""
_AHEAD_BYTES = 1 << 20
_BLOCK = 1 << 20


class DiskSpool:
    """The spool of one run; one process at a time has it.

    Args:
        folder: ``spool`` in the run's folder; what is unsent there comes first.

    Raises:
        RunError: Another process has it, or a newer nnray wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder.absolute()
        self._path.mkdir(parents=True, exist_ok=True)
        self._hold = _hold(self._path, tries=10)
        try:
            _check_version(self._path)
            self._lock = threading.Lock()
            self._begin()
        except BaseException:
            os.close(self._hold)
            raise

    def _begin(self) -> None:
        entries = self._path / _ENTRIES
        sent, end, left = _scan(self._path)
        if not left:
            _clear(self._path)
            sent = end = 0
        self._out = os.open(entries, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._out, end)
        self._in = entries.open("rb")
        self._sent = self._read = sent
        self._end, self._left = end, left
        self._ahead: deque[tuple[Entry, int]] = deque()

    @property
    def folder(self) -> Path:
        """Where files that entries name stand until they are sent."""
        return self._path

    @property
    def root(self) -> Path:
        """The run's folder."""
        return self._path.parent

    @property
    def durable(self) -> bool:
        """What is unsent outlives the process."""
        return True

    def address(self, *, uri: str, experiment: str) -> None:
        """Write down which store the entries are for.

        Raises:
            RunError: There are unsent ones for another.
        """
        about = read_about(self._path)
        if self._left and about.get("uri", uri) != uri:
            raise RunError(
                f"{self._path} holds {self._left} records for {about['uri']}, not for {uri}: "
                f"send them with `nnray sync`, or go on with tracking.uri={about['uri']}"
            )
        _replace(self._path / _ABOUT, {"version": VERSION, "uri": uri, "experiment": experiment})

    def keep(self, path: Path) -> str:
        """The path below the run's folder; what stands elsewhere is copied into the spool."""
        run, path = self._path.parent, Path(os.path.normpath(path.absolute()))
        if not path.is_relative_to(run):
            copied = self._path / f"file-{uuid.uuid4().hex}" / path.name
            try:
                copied.parent.mkdir()
                path = Path(shutil.copyfile(path, copied))
            except OSError:
                return str(path)  # the store refuses it by this name
        return str(path.relative_to(run))

    def find(self, name: str) -> Path | None:
        """A file or folder of the run; None for what is outside its folder, links followed."""
        return find_below(self.root, name)

    def append(self, entry: Entry) -> None:
        """Hand a line to the kernel, whole or not at all.

        Raises:
            OSError: The disk is full.
        """
        line = _line(entry)
        with self._lock:
            try:
                _write(self._out, line)
            except OSError:
                os.ftruncate(self._out, self._end)
                raise
            self._end += len(line)
            self._left += 1

    def peek(self, count: int) -> Sequence[Entry]:
        """Entries from the front, which stay; a MiB at most is held in memory."""
        while len(self._ahead) < count and self._read < self._end:
            if self._ahead and self._read - self._sent >= _AHEAD_BYTES:
                break
            self._in.seek(self._read)
            line = self._in.readline()
            self._read += len(line)
            self._ahead.append((_entry(line), self._read))
        return tuple(entry for entry, _ in islice(self._ahead, count))

    def ack(self, count: int) -> None:
        """Drop ``count`` entries from the front: they are stored."""
        for _ in range(count):
            _, self._sent = self._ahead.popleft()
        with self._lock:
            self._left -= count
        # Where the disk is full, entries go out again after a restart, which changes nothing.
        with contextlib.suppress(OSError):
            _replace(self._path / _SENT, {"offset": self._sent})

    def set_aside(self, entry: Entry) -> None:
        """Keep an entry that the store would not take for ``retry``, with its files."""
        with (self._path / _REFUSED).open("ab", buffering=0) as file:
            file.write(_line(entry))

    def retry(self) -> None:
        """Put the entries that were set aside at the end of the queue again."""
        with contextlib.suppress(FileNotFoundError):
            for line in (self._path / _REFUSED).read_bytes().splitlines(keepends=True):
                self.append(_entry(line))
            (self._path / _REFUSED).unlink()

    def __len__(self) -> int:
        return self._left

    def close(self) -> None:
        """Let go of the spool; where all was sent, nothing of it is left."""
        if self._hold < 0:
            return
        self._in.close()
        os.close(self._out)
        if not self._left:
            _clear(self._path)
        os.close(self._hold)
        self._hold = -1


def unsent(folder: Path) -> bool:
    """Whether a spool holds entries that the store has not, and no process is at it."""
    entries = folder / _ENTRIES
    try:
        if entries.stat().st_size <= _offset(folder):
            return False
        os.close(_hold(folder))
    except (OSError, RunError):
        return False
    return True


def refused(folder: Path) -> bool:
    """Whether a spool holds entries that the store would not take."""
    return (folder / _REFUSED).exists()


def read_about(folder: Path) -> Mapping[str, Any]:
    """Version and store of a spool, as far as they are written down."""
    return _read_json(folder / _ABOUT)


def _hold(folder: Path, *, tries: int = 1) -> int:
    """A lock that ends with the process."""
    handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    for number in range(tries):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        time.sleep(_GLANCE_S if number + 1 < tries else 0.0)
    os.close(handle)
    raise RunError(f"{folder.parent.name} is being run by another process: wait for it, or stop it")


def _check_version(folder: Path) -> None:
    version = read_about(folder).get("version", VERSION)
    if version != VERSION:
        raise RunError(
            f"{folder} has format {version!r}; this nnray reads {VERSION}; "
            "a newer one wrote it: send its records with that one, by `nnray sync`"
        )


def _scan(folder: Path) -> tuple[int, int, int]:
    """Where the unsent entries begin and end, and how many there are; a torn last line is none."""
    try:
        with (folder / _ENTRIES).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            begin = _offset(folder)
            begin = begin if begin <= size else 0
            file.seek(begin)
            position = end = begin
            count = 0
            while block := file.read(_BLOCK):
                count += block.count(b"\n")
                end = position + newline + 1 if (newline := block.rfind(b"\n")) >= 0 else end
                position += len(block)
            return begin, end, count
    except FileNotFoundError:
        return 0, 0, 0


def _offset(folder: Path) -> int:
    offset = _read_json(folder / _SENT).get("offset", 0)
    return max(0, offset) if isinstance(offset, int) else 0


def _clear(folder: Path) -> None:
    """Remove what has been sent: the entries first, so that none is left without its offset."""
    (folder / _ENTRIES).unlink(missing_ok=True)
    (folder / _SENT).unlink(missing_ok=True)
    if not (folder / _REFUSED).exists():
        for path in (*folder.glob("model-*"), *folder.glob("file-*")):
            shutil.rmtree(path, ignore_errors=True)


def _line(entry: Entry) -> bytes:
    return json.dumps({"kind": entry.kind, "run": entry.run, "body": entry.body}).encode() + b"\n"


def _entry(line: bytes) -> Entry:
    """An entry from its line; one of no known kind, which the store refuses by name, if it is damaged."""
    try:
        fields = json.loads(line)
        kind, run, body = fields["kind"], fields["run"], fields["body"]
    except (ValueError, KeyError, TypeError, RecursionError):
        kind = run = body = None
    if isinstance(kind, str) and isinstance(run, str) and isinstance(body, dict):
        return Entry(kind, run, body)
    return Entry("damaged", line[:80].decode(errors="replace").strip(), {})


def _write(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _replace(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a JSON file in one step, without waiting for the disk."""
    aside = path.with_name(f".{path.name}.tmp")
    aside.write_text(json.dumps(value) + "\n")
    aside.replace(path)


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
