"""A trial takes the checkpoints of another, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from nnray.errors import CheckpointError
from nnray.runners.sweep.clone import clone, cloned_epoch, settle
from nnray.training import checkpoint

CHANGES = {os.mkdir, os.open, os.rename, os.replace, os.rmdir, os.sendfile, os.unlink, open}


class Killed(BaseException):
    """Stands for a SIGKILL."""


def make_trial(folder: Path, weight: float, *, epochs: tuple[int, ...], best: int) -> Path:
    folder.mkdir(parents=True)
    for epoch in epochs:
        state = {"model": {"w": torch.tensor([weight, epoch])}, "best": {"epoch": best}, "epoch": epoch}
        checkpoint.save(folder / "checkpoints", state, epoch=epoch)
    (folder / "history.jsonl").write_text(f'{{"weight": {weight}}}\n')
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_trial(tmp_path / "0003", 3.0, epochs=(1, 3, 4), best=1)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return make_trial(tmp_path / "0007", 7.0, epochs=(2, 3, 4), best=2)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def weights(folder: Path) -> dict[int, float]:
    """Epoch of each checkpoint to the trial that it is of; all of them intact."""
    found = [checkpoint.read(path) for path in (folder / "checkpoints").glob("epoch-*")]
    return {state["epoch"]: float(state["model"]["w"][0]) for state in found}


def killed_at(number: int, action: Callable[[], None]) -> bool:
    """Whether an action was ended before its system call of that number, of those that change files."""
    left = number

    def watch(frame: FrameType, event: str, called: Any) -> None:
        nonlocal left
        if event == "c_call" and called in CHANGES:
            left -= 1
            if left == -1:
                raise Killed

    sys.setprofile(watch)
    try:
        action()
    except Killed:
        return True
    finally:
        sys.setprofile(None)
    return False


def test_the_epoch_and_the_best_one_take_the_place_of_all_others(source: Path, target: Path) -> None:
    before = contents(source)
    clone(source, target, epoch=4)
    assert weights(target) == {1: 3.0, 4: 3.0}
    assert cloned_epoch(target) == 4
    assert json.loads((target / "clone.json").read_text()) == {"source": "0003", "epoch": 4}
    assert (target / "history.jsonl").read_text() == '{"weight": 7.0}\n'
    assert {path.name for path in target.iterdir()} == {"checkpoints", "clone.json", "history.jsonl"}
    assert contents(source) == before


def test_a_trial_that_took_nothing_is_its_own(target: Path) -> None:
    settle(target)
    assert cloned_epoch(target) == 0
    assert weights(target) == {2: 7.0, 3: 7.0, 4: 7.0}


def test_the_best_epoch_may_be_the_last(tmp_path: Path, target: Path) -> None:
    clone(make_trial(tmp_path / "0001", 1.0, epochs=(3, 4), best=4), target, epoch=4)
    assert weights(target) == {4: 1.0}


def test_a_best_epoch_that_is_not_kept_is_not_missed(tmp_path: Path, target: Path) -> None:
    clone(make_trial(tmp_path / "0001", 1.0, epochs=(3, 4), best=2), target, epoch=4)
    assert weights(target) == {4: 1.0}


def test_a_second_time_changes_nothing(source: Path, target: Path) -> None:
    clone(source, target, epoch=4)
    before = contents(target)
    clone(source, target, epoch=4)
    assert contents(target) == before


def test_a_second_time_does_not_undo_what_was_trained_since(source: Path, target: Path) -> None:
    """By then the source may have gone on, and its checkpoint may be gone."""
    clone(source, target, epoch=4)
    shutil.rmtree(target / "checkpoints")
    checkpoint.save(target / "checkpoints", {"model": {"w": torch.tensor([7.5])}, "epoch": 5}, epoch=5)
    shutil.rmtree(source)
    clone(source, target, epoch=4)
    assert weights(target) == {5: 7.5}


def test_a_later_clone_takes_the_place_of_an_earlier_one(tmp_path: Path, source: Path, target: Path) -> None:
    clone(source, target, epoch=4)
    other = make_trial(tmp_path / "0001", 1.0, epochs=(6,), best=6)
    clone(other, target, epoch=6)
    assert (weights(target), cloned_epoch(target)) == ({6: 1.0}, 6)


@pytest.mark.parametrize("epoch", [1, 4])
def test_a_damaged_source_changes_nothing(source: Path, target: Path, epoch: int) -> None:
    """Neither that of the epoch nor that of the best one may be damaged."""
    file = source / "checkpoints" / f"epoch-{epoch:06d}" / "state.pt"
    file.write_bytes(file.read_bytes()[:-1])
    before = contents(target)
    with pytest.raises(CheckpointError, match=f"epoch-{epoch:06d}"):
        clone(source, target, epoch=4)
    settle(target)
    assert weights(target) == {2: 7.0, 3: 7.0, 4: 7.0}
    assert before.items() <= contents(target).items()


def test_an_epoch_that_is_not_there_is_told(source: Path, target: Path) -> None:
    with pytest.raises(CheckpointError, match="epoch-000002"):
        clone(source, target, epoch=2)


def test_a_kill_at_any_instant_leaves_all_or_nothing(source: Path, target: Path, tmp_path: Path) -> None:
    pristine, number, outcomes = tmp_path / "pristine", 0, []
    shutil.copytree(target, pristine)
    while True:
        shutil.rmtree(target)
        shutil.copytree(pristine, target)
        if not killed_at(number, lambda: clone(source, target, epoch=4)):
            break
        settle(target)
        outcomes.append(cloned_epoch(target))
        assert weights(target) == ({1: 3.0, 4: 3.0} if outcomes[-1] else {2: 7.0, 3: 7.0, 4: 7.0})
        clone(source, target, epoch=4)
        assert (weights(target), cloned_epoch(target)) == ({1: 3.0, 4: 3.0}, 4)
        assert not list(target.glob("*clone*tmp"))
        number += 1
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {0, 4}
    assert number > 30


def test_a_kill_while_a_kill_is_made_good_does_no_harm(source: Path, target: Path, tmp_path: Path) -> None:
    """The clone counts, and nothing has been moved: that is done again and again, and killed each time."""
    pristine = tmp_path / "pristine"
    assert killed_at(_counts(source, target, tmp_path), lambda: clone(source, target, epoch=4))
    shutil.copytree(target, pristine)
    number = 0
    while True:
        shutil.rmtree(target)
        shutil.copytree(pristine, target)
        if not killed_at(number, lambda: settle(target)):
            break
        settle(target)
        assert (weights(target), cloned_epoch(target)) == ({1: 3.0, 4: 3.0}, 4)
        number += 1
    assert number > 8


def _counts(source: Path, target: Path, tmp_path: Path) -> int:
    """The first call before which a kill leaves a clone that counts."""
    number = 0
    while True:
        trial = tmp_path / "trial"
        shutil.copytree(target, trial)
        killed_at(number, lambda trial=trial: clone(source, trial, epoch=4))  # type: ignore[misc]
        counts = (trial / "clone").exists()
        shutil.rmtree(trial)
        if counts:
            return number
        number += 1
