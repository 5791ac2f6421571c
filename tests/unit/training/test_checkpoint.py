"""A checkpoint is whole or is not taken."""

from __future__ import annotations

import errno
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from nnray.errors import CheckpointError
from nnray.training import checkpoint, storage

STATE: dict[str, Any] = {
    "model": {"w": torch.arange(12.0).reshape(3, 4)},
    "best": {"value": float("nan")},
    "epoch": 3,
    "step": 30,
}


def _save(folder: Path, epoch: int) -> Path:
    return folder / checkpoint.save(folder, {**STATE, "epoch": epoch}, epoch=epoch)


def test_what_was_saved_is_read_back(tmp_path: Path) -> None:
    path = _save(tmp_path, 3)
    found = checkpoint.read(path)
    assert torch.equal(found["model"]["w"], STATE["model"]["w"])
    assert found["epoch"] == 3
    assert found["best"]["value"] != found["best"]["value"]


def test_any_flipped_bit_is_found(tmp_path: Path) -> None:
    path = _save(tmp_path, 1)
    rng = random.Random(0)
    files = [path / "state.pt", path / "manifest.json"]
    for number in range(300):
        file = files[number % 2]
        whole = file.read_bytes()
        bit = rng.randrange(len(whole) * 8)
        altered = bytearray(whole)
        altered[bit // 8] ^= 1 << (bit % 8)
        file.write_bytes(altered)
        with pytest.raises(CheckpointError):
            checkpoint.read(path)
        file.write_bytes(whole)
    assert checkpoint.read(path)["epoch"] == 1


@pytest.mark.parametrize("name", ["state.pt", "manifest.json"])
def test_any_cut_is_found(tmp_path: Path, name: str) -> None:
    path = _save(tmp_path, 1)
    whole = (path / name).read_bytes()
    for length in [0, 1, len(whole) // 2, len(whole) - 1]:
        (path / name).write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="epoch-000001"):
            checkpoint.read(path)


def test_the_newest_intact_one_is_taken_and_the_others_are_named(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        _save(tmp_path, epoch)
    (tmp_path / "epoch-000003" / "state.pt").write_bytes(b"")
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found.state["epoch"] == 2
    assert len(found.skipped) == 1
    assert "epoch-000003" in found.skipped[0]


def test_a_checkpoint_under_another_epochs_name_is_refused(tmp_path: Path) -> None:
    _save(tmp_path, 1).rename(tmp_path / "epoch-000009")
    with pytest.raises(CheckpointError, match="holds epoch 1"):
        checkpoint.read(tmp_path / "epoch-000009")


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = _save(tmp_path, 1)
    manifest = json.loads((path / "manifest.json").read_text()) | {"version": 99}
    manifest["digest"] = checkpoint._digest(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="version 99"):
        checkpoint.read(path)


def test_nothing_intact_is_an_error_and_nothing_at_all_is_none(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path) is None
    (_save(tmp_path, 1) / "state.pt").unlink()
    with pytest.raises(CheckpointError, match="no checkpoint is intact"):
        checkpoint.newest(tmp_path)


def test_half_written_ones_are_never_taken_and_are_swept(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    aside = tmp_path / ".epoch-000002.123.tmp"
    aside.mkdir()
    (aside / "state.pt").write_bytes(b"half")
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found.name == "epoch-000001"
    checkpoint.prune(tmp_path, keep=1, best=1)
    assert not aside.exists()


def test_pruning_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    for epoch in range(1, 7):
        _save(tmp_path, epoch)
    checkpoint.prune(tmp_path, keep=2, best=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "epoch-000003",
        "epoch-000005",
        "epoch-000006",
    ]


def test_saving_an_epoch_again_replaces_it(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    checkpoint.save(tmp_path, {"epoch": 1, "step": 99}, epoch=1)
    assert checkpoint.of_epoch(tmp_path, 1)["step"] == 99


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    _save(tmp_path, 1)
    monkeypatch.setattr(storage, "_write", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        _save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-000001"]


def test_a_pickle_with_code_is_not_run(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / checkpoint.save(tmp_path, {"epoch": 1, "attack": Attack()}, epoch=1)
    with pytest.raises(CheckpointError, match="epoch-000001"):
        checkpoint.read(path)
    assert not (tmp_path / "ran").exists()
