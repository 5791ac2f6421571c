from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnray.data.check import as_splits
from nnray.data.npz import npz
from nnray.data.splits import DataSplits
from nnray.errors import DataError
from tests.unit.data.files import write_npz


def read(path: Path, **kwargs: Any) -> DataSplits:
    return as_splits(npz(root=str(path), **kwargs), name="npz")


def test_splits_are_the_arrays_of_the_file(tmp_path: Path) -> None:
    arrays = write_npz(tmp_path / "a.npz", parts=("train", "val", "test"))
    splits = read(tmp_path, file="a.npz")
    assert splits.val is not None
    assert splits.test is not None
    for part, examples in (("train", splits.train), ("val", splits.val), ("test", splits.test())):
        assert np.array_equal(examples.inputs[:, 0].numpy(), arrays[f"x_{part}"])
        assert examples.targets.tolist() == arrays[f"y_{part}"].tolist()


def test_root_may_be_the_file_and_a_file_may_be_below_the_working_folder(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz")
    assert len(read(tmp_path / "a.npz").train) == 30
    assert len(as_splits(npz(file="a.npz"), name="npz").train) == 30


def test_examples_alone_are_split_into_training_and_test(tmp_path: Path) -> None:
    arrays = write_npz(tmp_path / "a.npz", parts=("",))
    splits = read(tmp_path / "a.npz", test=9)
    assert splits.test is not None
    test = splits.test()
    assert test.targets.bincount().tolist() == [3, 3, 3]
    rows = sorted(torch.cat([splits.train.inputs, test.inputs]).flatten(1).tolist())
    assert rows == sorted(arrays["x"].reshape(30, -1).tolist())
    assert torch.equal(test.inputs, read(tmp_path / "a.npz", test=9).test().inputs)  # type: ignore[misc]


@pytest.mark.parametrize("parts", [("",), ("train",)])
def test_there_may_be_no_test_split(tmp_path: Path, parts: tuple[str, ...]) -> None:
    write_npz(tmp_path / "a.npz", parts=parts)
    assert read(tmp_path / "a.npz", test=0).test is None


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((6, 8, 9), "auto", (1, 8, 9)),
        ((6, 3, 8, 9), "auto", (3, 8, 9)),
        ((6, 8, 9, 3), "auto", (3, 8, 9)),
        ((6, 8, 9, 1), "auto", (1, 8, 9)),
        ((6, 3, 9, 3), "auto", (3, 9, 3)),
        ((6, 3, 9, 3), "hwc", (3, 3, 9)),
        ((6, 8, 9, 7), "auto", (8, 9, 7)),
        ((6, 8, 9, 7), "hwc", (7, 8, 9)),
        ((6, 8, 9, 3), "chw", (8, 9, 3)),
        ((6, 5), "auto", (5,)),
    ],
)
def test_layout_of_images_is_told_or_said(
    tmp_path: Path, shape: tuple[int, ...], layout: Any, expected: tuple[int, ...]
) -> None:
    x = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=[0, 1] * 3)
    splits = read(tmp_path / "a.npz", layout=layout)
    assert splits.info.input_shape == expected
    assert int(splits.train.inputs.sum()) == int(x.sum())
    if x.ndim == 4 and expected[0] == shape[-1] != shape[1]:
        assert np.array_equal(splits.train.inputs[:, 0].numpy(), x[..., 0])


def test_labels_may_be_texts(tmp_path: Path) -> None:
    x = np.zeros((4, 2))
    names = np.array(["dog", "cat", "dog", "eel"])
    np.savez(tmp_path / "a.npz", x_train=x, y_train=names, x_test=x[:1], y_test=["cat"])
    splits = read(tmp_path / "a.npz")
    assert splits.info.classes == ("cat", "dog", "eel")
    assert splits.train.targets.tolist() == [1, 0, 1, 2]
    assert splits.test is not None
    assert splits.test().targets.tolist() == [0]


def test_text_that_is_no_class_is_named(tmp_path: Path) -> None:
    x = np.zeros((2, 2))
    np.savez(tmp_path / "a.npz", x_train=x, y_train=["a", "b"], x_test=x, y_test=["a", "zebra"])
    test = read(tmp_path / "a.npz").test
    assert test is not None
    with pytest.raises(DataError, match=r"labels \['zebra'\] are no classes; allowed: a, b"):
        test()


def test_classes_of_the_file_are_taken(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.zeros((2, 2)), y_train=[0, 1], classes=["no", "yes", "maybe"])
    assert read(tmp_path / "a.npz").info.classes == ("no", "yes", "maybe")


def test_file_that_is_not_there_is_named_with_every_place(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        npz(root=str(tmp_path / "data"), file="a.npz")
    assert str(tmp_path / "data" / "a.npz") in str(caught.value)
    assert str(Path.cwd() / "a.npz") in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "missing"),
    [
        ({"x": 1}, "has no y; it has x; expected x_train, y_train"),
        ({"x_train": 1, "x_test": 1}, "has no y_test, y_train; it has x_test, x_train"),
        ({"images": 1}, "has no x, y; it has images"),
        ({}, "has no x, y; it has nothing"),
    ],
)
def test_missing_arrays_are_named_with_those_that_are_there(
    tmp_path: Path, arrays: dict[str, Any], missing: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=missing):
        npz(root=str(tmp_path / "a.npz"))


class _Malicious:
    def __reduce__(self) -> Any:
        return os.mkdir, ("hacked",)


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.array([_Malicious()], dtype=object), y=[0])
    with pytest.raises(DataError, match=r"not a readable \.npz file of plain arrays"):
        npz(root=str(tmp_path / "a.npz"))
    assert not Path("hacked").exists()


def test_cut_file_is_refused_at_every_hundredth_byte(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz")
    whole = (tmp_path / "a.npz").read_bytes()
    for cut in range(0, len(whole), 100):
        (tmp_path / "b.npz").write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"b\.npz: not a readable"):
            npz(root=str(tmp_path / "b.npz"))


def test_plain_npy_file_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(DataError, match="not a readable"):
        npz(root=str(tmp_path / "a.npy"))


def test_negative_labels_are_told_as_such(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2)), y=[-1, 0, 1, 1])
    with pytest.raises(DataError, match="labels go from -1 to 1"):
        read(tmp_path / "a.npz")
