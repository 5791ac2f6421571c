from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from nnray.data import root as root_module
from nnray.data.idx import fashion_mnist, mnist, read_idx
from nnray.errors import DataError
from tests.unit.data.files import idx_bytes, write_idx

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("packed", [False, True])
def test_splits_are_what_was_written(tmp_path: Path, packed: bool) -> None:
    arrays = write_idx(tmp_path, packed=packed)
    splits = mnist(root=str(tmp_path))
    assert splits.test is not None
    assert splits.val is None
    for examples, part in ((splits.train, "train"), (splits.test(), "t10k")):
        assert examples.inputs.dtype == torch.uint8
        assert np.array_equal(examples.inputs[:, 0].numpy(), arrays[f"{part}-images-idx3-ubyte"])
        assert examples.targets.tolist() == arrays[f"{part}-labels-idx1-ubyte"].tolist()


def test_fashion_has_a_folder_and_classes_of_its_own(tmp_path: Path) -> None:
    write_idx(tmp_path, "FashionMNIST")
    info = fashion_mnist(root=str(tmp_path)).info
    assert (info.name, info.num_classes, info.classes[9]) == ("fashion_mnist", 10, "ankle boot")


def test_test_files_are_not_read_before_they_are_called_for(tmp_path: Path) -> None:
    write_idx(tmp_path)
    broken = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    broken.write_bytes(b"nonsense")
    splits = mnist(root=str(tmp_path))
    assert splits.test is not None
    with pytest.raises(DataError, match="t10k-images"):
        splits.test()


def test_missing_files_are_all_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx(tmp_path)
    monkeypatch.setattr(root_module, "network_problem", lambda source: "none")
    for name in ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        (tmp_path / "MNIST" / "raw" / name).unlink()
    with pytest.raises(
        DataError, match=r"(?s)2 file\(s\).*train-images-idx3-ubyte.gz.*t10k-labels-idx1-ubyte"
    ):
        mnist(root=str(tmp_path))


def test_more_images_than_labels_is_told_with_both_files(tmp_path: Path) -> None:
    write_idx(tmp_path)
    labels = tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte"
    labels.write_bytes(idx_bytes(np.zeros(7)))
    with pytest.raises(DataError, match=r"train-images.* has 40 images, but .*train-labels.* has 7 labels"):
        mnist(root=str(tmp_path))


@pytest.mark.parametrize("packed", [False, True])
def test_file_reads_as_written_at_every_cut_but_the_last_it_is_refused(tmp_path: Path, packed: bool) -> None:
    whole = idx_bytes(IMAGES)
    path = tmp_path / ("x.gz" if packed else "x")
    for cut in range(len(whole)):
        path.write_bytes(gzip.compress(whole[:cut]) if packed else whole[:cut])
        with pytest.raises(DataError, match=str(path)):
            read_idx(path, dims=3)
    path.write_bytes(gzip.compress(whole) if packed else whole)
    assert np.array_equal(read_idx(path, dims=3).numpy(), IMAGES)


def test_gzip_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(idx_bytes(IMAGES))
    path = tmp_path / "x.gz"
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"x\.gz"):
            read_idx(path, dims=3)


def test_gzip_with_a_flipped_bit_never_gives_other_images(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(idx_bytes(IMAGES)))
    path, refused = tmp_path / "x.gz", 0
    for bit in range(8 * len(whole)):
        whole[bit // 8] ^= 1 << bit % 8
        path.write_bytes(whole)
        try:
            assert np.array_equal(read_idx(path, dims=3).numpy(), IMAGES)
        except DataError:
            refused += 1
        whole[bit // 8] ^= 1 << bit % 8
    # The rest are bits of the header, such as the time, and bits that pad the stream.
    assert refused > 8 * (len(whole) - 10) - 16


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "starts with nothing"),
        (b"\x89PNG\r\n\x1a\n", "starts with 89504e47, not 00000803"),
        (idx_bytes(np.zeros(4)), "starts with 00000801, not 00000803"),
        (idx_bytes(IMAGES)[:-1], r"truncated: 39 bytes, where its header announces 40 for shape \(2, 3, 4\)"),
        (idx_bytes(IMAGES) + b"x", "too long: 41 bytes"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "truncated"),
    ],
)
def test_other_contents_are_named(tmp_path: Path, data: bytes, problem: str) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(DataError, match=problem):
        read_idx(tmp_path / "file", dims=3)


def test_folder_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unreadable"):
        read_idx(tmp_path, dims=3)


@pytest.mark.realdata
@pytest.mark.skipif(
    not (Path(os.environ.get("NNRAY_DATA", "none")) / "MNIST").is_dir(), reason="needs NNRAY_DATA"
)
def test_published_mnist_has_its_published_counts() -> None:
    splits = mnist()
    assert splits.test is not None
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert splits.train.targets.bincount().tolist() == counts
    assert splits.train.inputs.shape == (60000, 1, 28, 28)
    assert len(splits.test()) == 10000
