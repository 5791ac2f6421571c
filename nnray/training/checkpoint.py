"""Checkpoints that are whole, or are not taken.

A checkpoint is a folder ``epoch-000003`` with ``state.pt`` and ``manifest.json``. It is written
under another name, fsynced and renamed; the manifest holds the SHA-256 of the state and of
itself. A flipped bit or a cut is found before anything is loaded, and the newest intact
checkpoint is taken instead. Nothing is unpickled: tensors and plain containers only.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from nnray.durable import sync
from nnray.errors import CheckpointError

_VERSION = 1
_STATE, _MANIFEST = "state.pt", "manifest.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An intact checkpoint that has been read.

    Args:
        path: Its folder.
        state: What was saved.
        skipped: Newer ones that were passed over: what was wrong with each.
    """

    path: Path
    state: dict[str, Any]
    skipped: tuple[str, ...] = ()


def save(folder: Path, state: Mapping[str, Any], *, epoch: int) -> Path:
    """Write the checkpoint of an epoch into ``folder``, or nothing.

    Returns:
        The checkpoint's own folder.

    Raises:
        CheckpointError: The disk is full, or the folder can't be written.
    """
    target = folder / f"epoch-{epoch:06d}"
    aside = folder / f".{target.name}.{os.getpid()}.tmp"
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    try:
        aside.mkdir(parents=True)
        _write(aside / _STATE, buffer.getbuffer())
        _write(aside / _MANIFEST, _manifest(epoch, buffer.getbuffer()))
        sync(aside)
        if target.exists():
            shutil.rmtree(target)
        aside.rename(target)
        sync(folder)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise CheckpointError(
            f"can't write the checkpoint {target}: {error.strerror}: free some room or name "
            "another folder with tracking.dir, then `nnray resume` goes on from the one before"
        ) from error
    return target


def read(path: Path) -> dict[str, Any]:
    """The state in one checkpoint, verified first.

    Raises:
        CheckpointError: It is cut, altered, or of another version.
    """
    try:
        manifest = json.loads((path / _MANIFEST).read_bytes())
        data = (path / _STATE).read_bytes()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: unreadable: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("digest") != _digest(manifest):
        raise CheckpointError(f"{path}: the manifest was altered")
    if manifest["version"] != _VERSION:
        raise CheckpointError(f"{path}: written in version {manifest['version']}, {_VERSION} is read here")
    if path.name != f"epoch-{manifest['epoch']:06d}":
        raise CheckpointError(f"{path}: holds epoch {manifest['epoch']}, not the one it is named for")
    if len(data) != manifest["bytes"] or hashlib.sha256(data).hexdigest() != manifest["sha256"]:
        raise CheckpointError(f"{path}: {_STATE} was cut or altered")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise CheckpointError(f"{path}: {_STATE} holds more than tensors and plain values") from error
    return state


def newest(folder: Path) -> Checkpoint | None:
    """The newest intact checkpoint in ``folder``; None where there never was one.

    Raises:
        CheckpointError: There are checkpoints, and none is intact.
    """
    skipped: list[str] = []
    for path in _epochs(folder):
        try:
            return Checkpoint(path, read(path), tuple(skipped))
        except CheckpointError as error:
            skipped.append(str(error))
    if skipped:
        listed = "; ".join(skipped)
        raise CheckpointError(f"no checkpoint is intact: {listed}; remove {folder} to train from the start")
    return None


def of_epoch(folder: Path, epoch: int) -> dict[str, Any]:
    """The state after one epoch.

    Raises:
        CheckpointError: It isn't there or isn't intact.
    """
    return read(folder / f"epoch-{epoch:06d}")


def prune(folder: Path, *, keep: int, best: int) -> None:
    """Remove all but the newest ``keep`` checkpoints and that of epoch ``best``.

    What a killed process left half-written goes as well.
    """
    for path in list(_epochs(folder))[keep:]:
        if path.name != f"epoch-{best:06d}":
            shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(".epoch-*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


def _epochs(folder: Path) -> Iterator[Path]:
    """Checkpoint folders, newest first."""
    yield from sorted(folder.glob("epoch-[0-9]*"), reverse=True)


def _write(path: Path, data: bytes | memoryview) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _manifest(epoch: int, data: memoryview) -> bytes:
    content: dict[str, Any] = {
        "version": _VERSION,
        "epoch": epoch,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return json.dumps(content | {"digest": _digest(content)}).encode()


def _digest(manifest: Mapping[str, Any]) -> str:
    """The SHA-256 of a manifest, its own digest left out."""
    content = {name: value for name, value in manifest.items() if name != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
