from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nnray.data.check import as_splits
from nnray.data.folder import image_folder
from nnray.data.splits import DataSplits, Examples
from nnray.data.stream import Streams
from nnray.data.stream_memory import resident
from nnray.errors import DataError
from tests.unit.data.files import write_images

COUNTS = {"cat": 6, "dog": 4}


def as_written(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)


def test_classes_are_the_folders_and_pixels_are_those_of_the_files(tmp_path: Path) -> None:
    write_images(tmp_path, counts=COUNTS)
    splits = image_folder(root=str(tmp_path), test=0)
    assert splits.test is None
    assert splits.info.classes == ("cat", "dog")
    assert splits.info.input_shape == (3, 6, 5)
    assert splits.train.targets.tolist() == [0] * 6 + [1] * 4
    files = sorted((tmp_path / "cat").iterdir()) + sorted((tmp_path / "dog").iterdir())
    for pixels, file in zip(splits.train.inputs, files, strict=True):
        assert np.array_equal(pixels.numpy(), as_written(file))


def test_test_images_are_held_back_stratified_and_read_later(tmp_path: Path) -> None:
    write_images(tmp_path, counts={"a": 20, "b": 10})
    splits = image_folder(root=str(tmp_path), test=6)
    assert splits.test is not None
    test = splits.test()
    assert test.targets.bincount().tolist() == [4, 2]
    rows = {tuple(row) for part in (splits.train, test) for row in part.inputs.flatten(1).tolist()}
    assert len(rows) == 30
    assert len(splits.train) == 24


def test_folders_named_train_val_and_test_are_the_splits(tmp_path: Path) -> None:
    for part, count in {"train": 5, "val": 3, "test": 2}.items():
        write_images(tmp_path / "set" / part, counts={"a": count, "b": count}, seed=count)
    splits = image_folder(root=str(tmp_path), folder="set")
    assert splits.val is not None
    assert splits.test is not None
    assert [len(splits.train), len(splits.val), len(splits.test())] == [10, 6, 4]


def test_test_folder_is_not_read_before_it_is_called_for(tmp_path: Path) -> None:
    write_images(tmp_path / "train", counts=COUNTS)
    write_images(tmp_path / "test", counts=COUNTS)
    (tmp_path / "test" / "dog" / "0.png").write_bytes(b"broken")
    splits = image_folder(root=str(tmp_path))
    assert splits.test is not None
    with pytest.raises(DataError, match=r"test/dog/0\.png"):
        splits.test()


def test_unreadable_images_are_named_all_at_once(tmp_path: Path) -> None:
    write_images(tmp_path, counts=COUNTS)
    whole = (tmp_path / "cat" / "1.png").read_bytes()
    (tmp_path / "cat" / "1.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "dog" / "2.png").write_bytes(b"")
    (tmp_path / "dog" / "3.png").write_bytes(b"not an image")
    with pytest.raises(DataError) as caught:
        image_folder(root=str(tmp_path), test=0)
    text = str(caught.value)
    assert "3 image(s) can't be read" in text
    assert all(name in text for name in ("cat/1.png", "dog/2.png", "dog/3.png"))
    assert "cat/2.png" not in text


def test_long_lists_of_unreadable_images_are_cut(tmp_path: Path) -> None:
    write_images(tmp_path, counts={"a": 2, "b": 30})
    for path in (tmp_path / "b").iterdir():
        path.write_bytes(b"no")
    with pytest.raises(DataError, match=r"(?s)30 image\(s\).*\.\.\. and 10 more"):
        image_folder(root=str(tmp_path), test=0)


def test_mixed_sizes_are_listed_with_the_remedy(tmp_path: Path) -> None:
    write_images(tmp_path, counts={"a": 3, "b": 2})
    write_images(tmp_path, counts={"c": 2}, size=(7, 9))
    with pytest.raises(DataError, match=r"2 sizes: 6 x 5 \(5\), 7 x 9 \(2\); set data\.size"):
        image_folder(root=str(tmp_path), test=0)


@pytest.mark.parametrize(("size", "expected"), [(8, (8, 8)), ((4, 9), (4, 9))])
def test_size_scales_all_images_to_one(tmp_path: Path, size: Any, expected: tuple[int, int]) -> None:
    write_images(tmp_path, counts={"a": 3})
    write_images(tmp_path, counts={"b": 3}, size=(7, 9))
    inputs = image_folder(root=str(tmp_path), size=size, test=0).train.inputs
    assert inputs.shape == (6, 3, *expected)
    file = Image.open(tmp_path / "a" / "0.png").resize(expected[::-1], Image.Resampling.BILINEAR)
    assert np.array_equal(inputs[0].numpy(), np.asarray(file).transpose(2, 0, 1))


def test_gray_is_one_channel(tmp_path: Path) -> None:
    write_images(tmp_path, counts=COUNTS)
    splits = image_folder(root=str(tmp_path), color="gray", test=0)
    assert splits.info.input_shape == (1, 6, 5)
    expected = np.asarray(Image.open(tmp_path / "cat" / "0.png").convert("L"))
    assert np.array_equal(splits.train.inputs[0, 0].numpy(), expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_images_of_any_mode_are_read(tmp_path: Path, mode: str) -> None:
    suffix = "tiff" if mode == "CMYK" else "png"
    for name, level in {"dark": 0, "light": 255}.items():
        (tmp_path / name).mkdir()
        image = Image.fromarray(np.full((4, 4, 3), level, dtype=np.uint8)).convert(mode)
        image.save(tmp_path / name / f"0.{suffix}")
    inputs = image_folder(root=str(tmp_path), test=0).train.inputs
    assert inputs[0].eq(0).all()
    assert inputs[1].eq(255).all()


def test_sixteen_bit_images_are_scaled_not_cut_off(tmp_path: Path) -> None:
    for name, level in {"a": 0x1234, "b": 0xFFFF}.items():
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((4, 4), level, dtype=np.uint16)).save(tmp_path / name / "0.png")
    inputs = image_folder(root=str(tmp_path), color="gray", test=0).train.inputs
    assert inputs[0].eq(0x12).all()
    assert inputs[1].eq(0xFF).all()


def test_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    write_images(tmp_path, counts=COUNTS)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "README.txt").touch()
    (tmp_path / "cat" / "Thumbs.db").touch()
    assert len(image_folder(root=str(tmp_path), test=0).train) == 10


@pytest.mark.parametrize("names", [[], ["only"]])
def test_fewer_than_two_classes_are_told(tmp_path: Path, names: list[str]) -> None:
    write_images(tmp_path, counts=dict.fromkeys(names, 2))
    with pytest.raises(DataError, match=rf"has {len(names)} folder\(s\); expected one for each class"):
        image_folder(root=str(tmp_path))


def test_empty_class_is_named(tmp_path: Path) -> None:
    write_images(tmp_path, counts=COUNTS)
    (tmp_path / "eel").mkdir()
    with pytest.raises(DataError, match=r"no images in .*eel; allowed: \.bmp"):
        image_folder(root=str(tmp_path))


def test_class_that_training_lacks_is_named(tmp_path: Path) -> None:
    write_images(tmp_path / "train", counts=COUNTS)
    write_images(tmp_path / "val", counts={"cat": 1, "eel": 1})
    with pytest.raises(DataError, match=r"val has \['eel'\], which train has not; it has cat, dog"):
        image_folder(root=str(tmp_path))


def test_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing is at .*gone"):
        image_folder(root=str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"inner has 0 folder"):
        image_folder(root=str(tmp_path), folder="inner")


def test_targets_are_int64(tmp_path: Path) -> None:
    write_images(tmp_path, counts=COUNTS)
    assert image_folder(root=str(tmp_path)).train.targets.dtype == torch.int64


def break_some(folder: Path) -> list[str]:
    """Four images that can't be read, two of each class."""
    whole = (folder / "a" / "1.png").read_bytes()
    (folder / "a" / "1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "a" / "7.png").write_bytes(b"")
    (folder / "b" / "2.png").write_bytes(b"not an image")
    (folder / "b" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return ["a/1.png", "a/7.png", "b/2.png", "b/3.png"]


@pytest.mark.parametrize("stream", [False, True])
def test_unreadable_images_are_skipped_where_that_is_asked_for_and_listed(
    tmp_path: Path, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    write_images(tmp_path, counts={"a": 20, "b": 10})
    broken = break_some(tmp_path)
    made = image_folder(root=str(tmp_path), stream=stream, unreadable="skip", test=6)
    splits = as_splits(resident(made, name="image_folder") if isinstance(made, Streams) else made, name="x")
    [record] = caplog.records
    assert "4 image(s) can't be read and are skipped" in record.getMessage()
    assert all(name in record.getMessage() for name in broken)
    assert "a/2.png" not in record.getMessage()
    assert splits.test is not None
    assert isinstance(splits.train, Examples)
    test = splits.test()
    assert isinstance(test, Examples)
    assert (splits.train.targets.bincount() + test.targets.bincount()).tolist() == [18, 8]


def test_skipping_gives_what_would_be_there_without_the_broken_ones(tmp_path: Path) -> None:
    for name in ("broken", "clean"):
        write_images(tmp_path / name, counts={"a": 20, "b": 10})
    for broken in break_some(tmp_path / "broken"):
        (tmp_path / "clean" / broken).unlink()
    one, other = (image_folder(root=str(tmp_path / name), unreadable="skip") for name in ("broken", "clean"))
    assert isinstance(one, DataSplits)
    assert isinstance(other, DataSplits)
    assert torch.equal(one.train.inputs, other.train.inputs)
    assert one.test is not None
    assert other.test is not None
    assert torch.equal(one.test().inputs, other.test().inputs)


@pytest.mark.parametrize("stream", [False, True])
def test_a_class_of_which_nothing_can_be_read_is_named(tmp_path: Path, stream: bool) -> None:
    write_images(tmp_path, counts=COUNTS)
    for path in (tmp_path / "dog").iterdir():
        path.write_bytes(b"no")
    with pytest.raises(DataError, match=r"no images? that can be read (of|in) .*dog"):
        image_folder(root=str(tmp_path), stream=stream, unreadable="skip")


@pytest.mark.parametrize("stream", [False, True])
def test_the_remedy_for_unreadable_images_is_told(tmp_path: Path, stream: bool) -> None:
    write_images(tmp_path, counts=COUNTS)
    (tmp_path / "cat" / "0.png").write_bytes(b"no")
    with pytest.raises(DataError, match=r"set data\.unreadable to skip"):
        image_folder(root=str(tmp_path), stream=stream, test=0)


def test_nothing_is_said_where_all_can_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_images(tmp_path, counts=COUNTS)
    image_folder(root=str(tmp_path), unreadable="skip")
    assert caplog.records == []


def test_unreadable_test_images_are_not_looked_for_before_they_are_called_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for part in ("train", "test"):
        write_images(tmp_path / part, counts=COUNTS)
    (tmp_path / "test" / "dog" / "0.png").write_bytes(b"broken")
    splits = image_folder(root=str(tmp_path), unreadable="skip")
    assert isinstance(splits, DataSplits)
    assert caplog.records == []
    assert splits.test is not None
    assert len(splits.test()) == 9
    assert "test/dog/0.png" in caplog.text
