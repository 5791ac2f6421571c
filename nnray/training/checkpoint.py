"""Checkpoints that are whole, or are not taken.

A checkpoint is a folder ``epoch-000003`` with ``state.pt`` and ``manifest.json``; the manifest
holds the SHA-256 of the state and of itself. A flipped bit or a cut is found before anything is
loaded, and the newest intact checkpoint is taken instead. Nothing is unpickled: tensors and plain
containers only.

Where several processes may believe that a run is theirs, each try to train it has a number, an
attempt, which its checkpoints bear: see ``nnray.training.fence``.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from nnray.errors import CheckpointError
from nnray.training.fence import Bounds
from nnray.training.storage import LocalFolder, RemoteFolder, as_folder

_VERSION = 1
_STATE, _MANIFEST = "state.pt", "manifest.json"
_NAME = re.compile(r"epoch-(\d{6,})(?:-(\d{4,}))?")

Where = Path | LocalFolder | RemoteFolder
"""A folder of checkpoints."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An intact checkpoint that has been read.

    Args:
        name: Of its folder.
        state: What was saved.
        skipped: Newer ones that were passed over: what was wrong with each.
    """

    name: str
    state: dict[str, Any]
    skipped: tuple[str, ...] = ()


def save(folder: Where, state: Mapping[str, Any], *, epoch: int, attempt: int = 0) -> str:
    """Write the checkpoint of an epoch into ``folder``, or nothing.

    Args:
        folder: Made if it isn't there.
        state: Tensors, plain values and containers of them.
        epoch: That the state has finished.
        attempt: To train this run that it comes from.

    Returns:
        The name of the checkpoint.

    Raises:
        CheckpointError: The disk is full, or the folder can't be written.
    """
    name = _name(epoch, attempt)
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    data = buffer.getbuffer()
    try:
        as_folder(folder).commit(name, {_STATE: data, _MANIFEST: _manifest(epoch, attempt, data)})
    except OSError as error:
        raise CheckpointError(
            f"can't write the checkpoint {folder}/{name}: {error.strerror or error}: free some room or name "
            "another folder with tracking.dir, then `nnray resume` goes on from the one before"
        ) from error
    return name


def read(path: Path) -> dict[str, Any]:
    """The state in one checkpoint, verified first.

    Raises:
        CheckpointError: It is cut, altered, or of another version.
    """
    return _read(LocalFolder(path.parent), path.name)


def newest(folder: Where) -> Checkpoint | None:
    """The newest intact checkpoint in ``folder``; None where there never was one.

    Raises:
        CheckpointError: There are checkpoints, and none is intact.
    """
    skipped: list[str] = []
    for name in _names(as_folder(folder)):
        try:
            return Checkpoint(name, _read(as_folder(folder), name), tuple(skipped))
        except CheckpointError as error:
            skipped.append(str(error))
    if skipped:
        listed = "; ".join(skipped)
        raise CheckpointError(f"no checkpoint is intact: {listed}; remove {folder} to train from the start")
    return None


def of_epoch(folder: Where, epoch: int) -> dict[str, Any]:
    """The state after one epoch.

    Raises:
        CheckpointError: It isn't there or isn't intact.
    """
    found = as_folder(folder)
    names = (name for name in _names(found) if _numbers(name)[0] == epoch)
    return _read(found, next(names, _name(epoch, 0)))


def named(folder: Where, name: str) -> dict[str, Any]:
    """The state of the checkpoint of that name.

    Raises:
        CheckpointError: It isn't there or isn't intact.
    """
    return _read(as_folder(folder), name)


def prune(folder: Where, *, keep: int, best: int) -> None:
    """Remove all but the newest ``keep`` checkpoints and that of epoch ``best``.

    What a killed process left half-written goes as well.
    """
    found = as_folder(folder)
    kept = list(_names(found))[:keep]
    kept += [name for name in _names(found) if _numbers(name)[0] == best][:1]
    for name in found.names():
        if _NAME.fullmatch(name) and name not in kept:
            found.remove(name)
    found.sweep()


def _name(epoch: int, attempt: int) -> str:
    return f"epoch-{epoch:06d}" + (f"-{attempt:04d}" if attempt else "")


def _numbers(name: str) -> tuple[int, int]:
    """Epoch and attempt, as the name says."""
    match = _NAME.fullmatch(name)
    assert match is not None, name
    return int(match[1]), int(match[2] or 0)


def _names(folder: LocalFolder | RemoteFolder) -> Iterator[str]:
    """Checkpoints of the run's own past, newest first: none that an attempt wrote after it was replaced."""
    entries = folder.names()
    bounds = Bounds.read(folder, entries)
    found = (name for name in entries if _NAME.fullmatch(name))
    for name in sorted(found, key=_numbers, reverse=True):
        epoch, attempt = _numbers(name)
        if bounds.admit(epoch, attempt=attempt):
            yield name


def _read(folder: LocalFolder | RemoteFolder, name: str) -> dict[str, Any]:
    path = f"{folder}/{name}"
    try:
        manifest = json.loads(folder.child(name).read(_MANIFEST))
        data = folder.child(name).read(_STATE)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: unreadable: {error}") from error
    _verify(manifest, data, path, name)
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise CheckpointError(f"{path}: {_STATE} holds more than tensors and plain values") from error
    return state


def _verify(manifest: Any, data: bytes, path: str, name: str) -> None:
    if not isinstance(manifest, dict) or manifest.get("digest") != _digest(manifest):
        raise CheckpointError(f"{path}: the manifest was altered")
    if manifest["version"] != _VERSION:
        raise CheckpointError(f"{path}: written in version {manifest['version']}, {_VERSION} is read here")
    if name != _name(manifest["epoch"], manifest.get("attempt", 0)):
        raise CheckpointError(f"{path}: holds epoch {manifest['epoch']}, not the one it is named for")
    if len(data) != manifest["bytes"] or hashlib.sha256(data).hexdigest() != manifest["sha256"]:
        raise CheckpointError(f"{path}: {_STATE} was cut or altered")


def _manifest(epoch: int, attempt: int, data: memoryview) -> bytes:
    content: dict[str, Any] = {
        "version": _VERSION,
        "epoch": epoch,
        "attempt": attempt,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return json.dumps(content | {"digest": _digest(content)}).encode()


def _digest(manifest: Mapping[str, Any]) -> str:
    """The SHA-256 of a manifest, its own digest left out."""
    content = {name: value for name, value in manifest.items() if name != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
