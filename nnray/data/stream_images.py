"""Images in folders, one folder a class, as a stream: each file is a shard of its own.

So an epoch's order is a true permutation of all files, whatever the buffer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import fs

from nnray.data.image import SUFFIXES, UNREADABLE, decode
from nnray.data.stream import Array, Integers, Streams
from nnray.data.stream_files import Place, files_below, relative
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
    place: Place, *, size: tuple[int, int] | None, mode: str, hold_back: float, split_seed: int
) -> Streams:
    """The splits of an image folder: those in folders of their own, else one to be split.

    Args:
        place: The folder.
        size: Height and width to scale to.
        mode: Pillow's name of the colours.
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
        return _source(place, found[split], classes, depth=depth, size=size, mode=mode)

    return Streams(
        train=source("train"),
        val=source("val") if "val" in found else None,
        test=(lambda: source("test")) if "test" in found else None,
        hold_back=0.0 if depth else hold_back,
        split_seed=split_seed,
        classes=tuple(classes),
    )


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
        with filesystem.open_input_file(path) as file:
            data = file.read()
        return decode(BytesIO(data), shape=size, mode=mode)
    except UNREADABLE as error:
        raise DataError(f"image_folder: {path} can't be read: {error}; mend or remove it") from error
