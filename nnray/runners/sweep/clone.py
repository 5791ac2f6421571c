"""Gives a trial the checkpoints of another, whole or not at all.

They are copied aside together with ``clone.json``, which says whose they are; one rename makes the
clone count. What comes after that only moves things to their places, and whoever opens the folder
next finishes it. So a kill at any instant leaves the trial's own checkpoints or the other's.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from nnray.durable import sync, write_json
from nnray.training import checkpoint

_MARK, _CHECKPOINTS = "clone.json", "checkpoints"


def clone(source: Path, target: Path, *, epoch: int) -> None:
    """Replace a trial's checkpoints by another's; nothing happens where that was done before.

    A second call changes nothing even if the trial has trained on since.

    Args:
        source: Folder of the trial that stands at ``epoch``; its best epoch's checkpoint goes along.
        target: Folder of the trial that is to go on from there; its history stays.
        epoch: The epoch of both.

    Raises:
        CheckpointError: The source has no intact checkpoint of that epoch; nothing was changed.
    """
    assert source != target, source
    settle(target)
    mark = {"source": source.name, "epoch": epoch}
    if _read(target) == mark:
        return
    aside = target / ".clone.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    for path in _wanted(source / _CHECKPOINTS, epoch):
        shutil.copytree(path, aside / _CHECKPOINTS / path.name)
    write_json(aside / _MARK, mark)
    for path in aside.rglob("*"):
        sync(path)
    sync(aside)
    aside.rename(target / "clone")
    sync(target)
    settle(target)


def settle(folder: Path) -> None:
    """Finish what a killed process has left of a clone that counts."""
    whole = folder / "clone"
    if not whole.exists():
        return
    if (whole / _CHECKPOINTS).exists():
        shutil.rmtree(folder / _CHECKPOINTS, ignore_errors=True)
        (whole / _CHECKPOINTS).rename(folder / _CHECKPOINTS)
    if (whole / _MARK).exists():
        (whole / _MARK).replace(folder / _MARK)
    shutil.rmtree(whole)
    sync(folder)


def cloned_epoch(folder: Path) -> int:
    """The epoch up to which a trial's checkpoints are another's; 0 where all are its own."""
    epoch: int = (_read(folder) or {"epoch": 0})["epoch"]
    return epoch


def _read(folder: Path) -> dict[str, int] | None:
    mark = folder / _MARK
    found: dict[str, int] | None = json.loads(mark.read_bytes()) if mark.exists() else None
    return found


def _wanted(checkpoints: Path, epoch: int) -> Iterator[Path]:
    """The checkpoints of an epoch and of the best one by then, verified."""
    best = checkpoint.of_epoch(checkpoints, epoch)["best"]["epoch"]
    yield checkpoints / f"epoch-{epoch:06d}"
    path = checkpoints / f"epoch-{best:06d}"
    if best != epoch and path.exists():  # it is not kept where the last one is selected
        checkpoint.read(path)
        yield path
