"""What was committed is there whole or not at all, wherever it is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pyarrow import fs

from nnray.errors import CheckpointError, RunError
from nnray.training import checkpoint
from nnray.training.fence import Fence, StaleAttempt, newest_attempt
from nnray.training.storage import LocalFolder, RemoteFolder, open_folder

Folder = LocalFolder | RemoteFolder
PLACES: dict[str, Callable[[Path], Folder]] = {
    "path": lambda path: open_folder(str(path / "run")),
    "file": lambda path: open_folder(f"file://{path}/run"),
    "pyarrow": lambda path: RemoteFolder(fs.LocalFileSystem(), str(path / "run")),
    "store": lambda path: RemoteFolder(fs._MockFileSystem(), "bucket/run"),
    "fsspec": lambda path: open_folder(f"memory://{path.name}/run"),
}


@pytest.fixture(params=PLACES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """A folder that isn't there yet, in each kind of place."""
    return PLACES[request.param](tmp_path)


def _save(folder: Folder, epoch: int, *, attempt: int = 0, step: int = 0) -> str:
    state = {"w": torch.arange(3.0), "epoch": epoch, "step": step}
    return checkpoint.save(folder, state, epoch=epoch, attempt=attempt)


def _epoch(folder: Folder) -> int:
    found = checkpoint.newest(folder)
    assert found is not None
    return int(found.state["epoch"])


def test_what_isnt_there_is_empty(folder: Folder) -> None:
    assert folder.names() == []
    assert list(folder.lines("list")) == []
    folder.remove("nothing")
    with pytest.raises(FileNotFoundError):
        folder.read("nothing")
    assert checkpoint.newest(folder) is None


def test_files_and_folders_come_back(folder: Folder) -> None:
    folder.put("a", b"1")
    folder.put("a", b"2")
    folder.commit("b", {"x": b"3", "y": memoryview(b"4")})
    folder.commit("b", {"x": b"5"})
    assert folder.names() == ["a", "b"]
    assert (folder.read("a"), folder.child("b").read("x")) == (b"2", b"5")
    assert folder.child("b").names() == ["x"]
    folder.remove("a")
    folder.remove("b")
    assert folder.names() == []


def test_lines_come_back_in_order(folder: Folder) -> None:
    folder.child("deep").put("made", b"")
    for number in range(12):
        folder.child("deep").append("list", {"number": number, "value": float("inf")})
    assert [line["number"] for line in folder.child("deep").lines("list")] == list(range(12))


def test_checkpoints_are_kept_anywhere(folder: Folder) -> None:
    for epoch in range(1, 6):
        _save(folder, epoch)
    checkpoint.prune(folder, keep=2, best=2)
    assert folder.names() == ["epoch-000002", "epoch-000004", "epoch-000005"]
    assert torch.equal(checkpoint.of_epoch(folder, 2)["w"], torch.arange(3.0))
    whole = folder.child("epoch-000005").read("state.pt")
    folder.child("epoch-000005").put("state.pt", whole[:-1])
    assert _epoch(folder) == 4
    folder.child("epoch-000004").remove("manifest.json")
    assert _epoch(folder) == 2


def test_a_name_that_no_file_system_has_is_refused() -> None:
    with pytest.raises(RunError, match=r"can't open the storage 'nowhere://bucket'.*all nodes share"):
        open_folder("nowhere://bucket")


def test_only_the_newest_attempt_writes(folder: Folder) -> None:
    old, new = Fence(folder, 1), Fence(folder, 2)
    old.claim(epoch=0)
    old.check()
    new.claim()
    assert newest_attempt(folder) == 2
    for act in (old.check, old.claim):
        with pytest.raises(StaleAttempt, match="attempt 2 has taken over from attempt 1"):
            act()
    new.check()


def test_what_an_older_attempt_wrote_too_late_is_not_read(folder: Folder) -> None:
    """It looked for a mark, was held up, and wrote: no storage prevents that, so the reader must."""
    Fence(folder, 1).claim(epoch=0)
    for epoch in (1, 2):
        _save(folder, epoch, attempt=1)
    Fence(folder, 2).claim(epoch=2)
    for epoch in (3, 4):
        _save(folder, epoch, attempt=1, step=99)
    assert _epoch(folder) == 2
    with pytest.raises(CheckpointError):
        checkpoint.of_epoch(folder, 3)
    _save(folder, 3, attempt=2, step=3)
    assert _epoch(folder) == 3
    assert checkpoint.of_epoch(folder, 3)["step"] == 3
    assert checkpoint.of_epoch(folder, 2)["epoch"] == 2, "from before the newer attempt"


def test_it_can_not_overwrite_the_newer_one_s(folder: Folder) -> None:
    Fence(folder, 2).claim(epoch=0)
    _save(folder, 1, attempt=2, step=1)
    _save(folder, 1, attempt=1, step=99)
    assert checkpoint.of_epoch(folder, 1)["step"] == 1


def test_while_an_attempt_looks_for_its_beginning_all_older_ones_count(folder: Folder) -> None:
    Fence(folder, 1).claim(epoch=0)
    _save(folder, 1, attempt=1)
    Fence(folder, 2).claim()
    assert _epoch(folder) == 1


def test_a_checkpoint_under_another_attempt_s_name_is_refused(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    (tmp_path / _save(folder, 1, attempt=1)).rename(tmp_path / "epoch-000001-0002")
    with pytest.raises(CheckpointError, match="not the one it is named for"):
        checkpoint.newest(folder)


def test_pruning_removes_what_stale_attempts_left(folder: Folder) -> None:
    _save(folder, 1, attempt=1)
    Fence(folder, 2).claim(epoch=1)
    _save(folder, 5, attempt=1)
    _save(folder, 2, attempt=2)
    checkpoint.prune(folder, keep=2, best=1)
    assert folder.names() == ["attempt-0002.json", "epoch-000001-0001", "epoch-000002-0002"]
