"""Images in folders, one folder a class, as a stream: each file is a shard of its own.

So an epoch's order is a true permutation of all files, whatever the buffer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import fs

from nnray.data.image import SUFFIXES, UNREADABLE, decode
from nnray.data.stream import Array, Integers, Streams
from nnray.data.stream_files import Place, files_below, relative
from nnray.data.unreadable import Unreadable, readable
from nnray.errors import DataError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True, eq=False)
class ImageSource:
    """Image files of some classes.

    Args:
        filesystem: What reads them.
        paths: Of the files.
        labels: Class of each.
        names: Of the classes.
        shape: ``(C, H, W)`` of every image.
        size: Height and width to scale to; None: they are of one size.
        mode: Pillow's name of the colours.
    """

    filesystem: fs.FileSystem
    paths: pa.Array
    labels: Array
    names: tuple[str, ...]
    shape: tuple[int, ...]
    size: tuple[int, int] | None
    mode: str

    @property
    def sizes(self) -> Integers:
        """One example each."""
        return np.ones(len(self.paths), dtype=np.int64)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Pixels are bytes."""
        return np.dtype(np.uint8)

    def read(self, shard: int) -> Iterator[Array]:
        """The one image of a file."""
        path = self.paths[shard].as_py()
        pixels = _image(self.filesystem, path, size=self.size, mode=self.mode)
        if pixels.shape != self.shape:
            raise DataError(
                f"image_folder: {path} is {pixels.shape[1]} x {pixels.shape[2]}, the first image is "
                f"{self.shape[1]} x {self.shape[2]}; set data.size to scale them to one"
            )
        yield pixels[None]


def image_streams(
    place: Place,
    *,
    size: tuple[int, int] | None,
    mode: str,
    unreadable: Unreadable = "refuse",
    hold_back: float,
    split_seed: int,
) -> Streams:
    """The splits of an image folder: those in folders of their own, else one to be split.

    Args:
        place: The folder.
        size: Height and width to scale to.
        mode: Pillow's name of the colours.
        unreadable: Whether images that can't be read are skipped, for which all of a split are read when it
            is opened.
        hold_back: Share or count to test on, where there is no folder ``test``.
        split_seed: Which of them.

    Raises:
        DataError: There are not two classes, or images of a class that train has not.
    """
    files = files_below(place, SUFFIXES)
    parts = {relative(path, place).parts[0] for path in files}
    depth = 1 if "train" in parts else 0
    found: dict[str, list[str]] = {}
    for path in files:
        split = relative(path, place).parts[0] if depth else "train"
        if split in SPLITS and len(relative(path, place).parts) > depth + 1:
            found.setdefault(split, []).append(path)
    classes = sorted({relative(path, place).parts[depth] for path in found.get("train", [])})
    if len(classes) < 2:
        raise DataError(
            f"image_folder: {place.shown} has images of {len(classes)} class(es); expected a folder for each "
            "class, at least two, or train, val and test with those in each"
        )

    def source(split: str) -> ImageSource:
        files = found[split]
        if unreadable == "skip":
            look = partial(_decoded, filesystem=place.filesystem, size=None, mode=mode)
            files = readable(files, look, name="image_folder")
            _require_classes(place, files, found[split], depth=depth)
        return _source(place, files, classes, depth=depth, size=size, mode=mode)

    return Streams(
        train=source("train"),
        val=source("val") if "val" in found else None,
        test=(lambda: source("test")) if "test" in found else None,
        hold_back=0.0 if depth else hold_back,
        split_seed=split_seed,
        classes=tuple(classes),
    )


def _require_classes(place: Place, whole: Sequence[str], files: Sequence[str], *, depth: int) -> None:
    left, before = ({relative(path, place).parts[depth] for path in paths} for paths in (whole, files))
    if lost := sorted(before - left):
        raise DataError(f"image_folder: {place.shown} has no image that can be read of {', '.join(lost)}")


def _source(
    place: Place, files: list[str], classes: list[str], *, depth: int, size: tuple[int, int] | None, mode: str
) -> ImageSource:
    folders = [relative(path, place).parts[depth] for path in files]
    if unknown := sorted(set(folders) - set(classes)):
        raise DataError(
            f"image_folder: {place.shown} has {unknown}, which train has not; it has {', '.join(classes)}"
        )
    number = {label: index for index, label in enumerate(classes)}
    labels = np.array([number[folder] for folder in folders], dtype=np.int32)
    first = _image(place.filesystem, files[0], size=size, mode=mode)
    paths = pa.array(files, type=pa.large_string())
    return ImageSource(place.filesystem, paths, labels, tuple(classes), first.shape, size, mode)


def _image(filesystem: fs.FileSystem, path: str, *, size: tuple[int, int] | None, mode: str) -> Array:
    try:
        return _decoded(path, filesystem=filesystem, size=size, mode=mode)
    except UNREADABLE as error:
        advice = "mend or remove it, or set data.unreadable to skip"
        raise DataError(f"image_folder: {path} can't be read: {error}; {advice}") from error


def _decoded(path: str, *, filesystem: fs.FileSystem, size: tuple[int, int] | None, mode: str) -> Array:
    with filesystem.open_input_file(path) as file:
        data = file.read()
    return decode(BytesIO(data), shape=size, mode=mode)
