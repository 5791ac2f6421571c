"""Images in folders, one folder a class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from nnray.data.image import MODES, SUFFIXES, UNREADABLE, decode, pair
from nnray.data.root import existing_root
from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.data.stratify import split_off
from nnray.data.stream import Streams
from nnray.data.stream_files import locate
from nnray.data.stream_images import image_streams
from nnray.data.unreadable import SHOWN, Unreadable, listed, readable
from nnray.errors import DataError
from nnray.fields import NonNegative, NonNegativeInt, PositiveInt
from nnray.seeding import derive

Labelled = list[tuple[Path, int]]


def image_folder(
    *,
    root: str | None = None,
    stream: bool = False,
    folder: str = "",
    size: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None,
    color: Literal["rgb", "gray"] = "rgb",
    unreadable: Unreadable = "refuse",
    test: NonNegative = 0.2,
    split_seed: NonNegativeInt = 0,
) -> DataSplits | Streams:
    """Images in ``CLASS/*`` or ``{train,val,test}/CLASS/*``.

    Args:
        root: The folder; None means ``$NNRAY_DATA``, else the user's cache folder; a URI where it streams.
        stream: Whether to read images while training, rather than all at the start.
        folder: Its path below the root.
        size: Scale images to so many pixels, a side or [height, width]; None: they are of one size.
        color: rgb or gray; images of another kind are converted, transparency is dropped.
        unreadable: refuse lists images that can't be read and ends; skip lists them and goes on without them,
            for which all are read once more at the start.
        test: Share (below 1) or count (from 1 on) of the images to test on, stratified, 0 for none;
            not used if there are folders ``train`` and ``test``.
        split_seed: Which of them; its own, so that experiments of any seed test on the same images.
    """
    if stream:
        place = locate(root, name="image_folder", below=folder)
        colors: dict[str, Any] = {"size": pair(size), "mode": MODES[color], "unreadable": unreadable}
        return image_streams(place, **colors, hold_back=test, split_seed=split_seed)
    base = existing_root(root, name="image_folder") / folder
    split = (base / "train").is_dir()
    classes = _class_names(base / "train" if split else base)
    look = partial(decode, shape=None, mode=MODES[color]) if unreadable == "skip" else None
    list_ = partial(_list, classes=classes, look=look)
    read = partial(_read, shape=pair(size), mode=MODES[color])
    if split:
        return _published(base, classes, lambda folder: read(list_(folder)))
    files = list_(base)
    train: Labelled = files
    later = None
    if test:
        targets = torch.tensor([label for _, label in files])
        seed = derive(split_seed, "image_folder", "test")
        held, rest = split_off(targets, amount=test, seed=seed, key="data.test")
        train = [files[index] for index in rest.tolist()]
        later = partial(read, [files[index] for index in held.tolist()])
    return _splits(read(train), None, later, classes)


def _published(base: Path, classes: Sequence[str], read: Any) -> DataSplits:
    """Splits that stand in folders of their own; that of test isn't listed before it is called for."""
    train = read(base / "train")
    val = read(base / "val") if (base / "val").is_dir() else None
    later = (lambda: read(base / "test")) if (base / "test").is_dir() else None
    return _splits(train, val, later, classes)


def _splits(train: Examples, val: Examples | None, test: Any, classes: Sequence[str]) -> DataSplits:
    info = DataInfo("image_folder", tuple(train.inputs.shape[1:]), tuple(classes))
    return DataSplits(train, val, test, info)


def _class_names(base: Path) -> list[str]:
    names = sorted(p.name for p in _entries(base) if p.is_dir()) if base.is_dir() else []
    if len(names) < 2:
        raise DataError(
            f"image_folder: {base} has {len(names)} folder(s); expected one for each class, at least two, "
            "or train, val and test with those in each"
        )
    return names


def _entries(folder: Path) -> Iterable[Path]:
    return (path for path in folder.iterdir() if not path.name.startswith("."))


def _list(base: Path, *, classes: Sequence[str], look: Callable[[Path], object] | None) -> Labelled:
    """Images with their classes, of each folder in order; those that ``look`` can't read are left out."""
    number = {name: label for label, name in enumerate(classes)}
    folders = sorted(p for p in _entries(base) if p.is_dir())
    if unknown := [p.name for p in folders if p.name not in number]:
        raise DataError(
            f"image_folder: {base} has {unknown}, which train has not; it has {', '.join(classes)}"
        )
    found = {p: sorted(q for q in p.rglob("*") if q.suffix.lower() in SUFFIXES) for p in folders}
    _require_images(found, "images")
    if look is not None:
        whole = set(readable([q for files in found.values() for q in files], look, name="image_folder"))
        found = {p: [q for q in files if q in whole] for p, files in found.items()}
        _require_images(found, "images that can be read")
    return [(file, number[p.name]) for p, files in found.items() for file in files]


def _require_images(found: Mapping[Path, Sequence[Path]], what: str) -> None:
    if empty := [str(p) for p, files in found.items() if not files]:
        raise DataError(f"image_folder: no {what} in {', '.join(empty)}; allowed: {' '.join(SUFFIXES)}")


def _read(files: Labelled, *, shape: tuple[int, int] | None, mode: str) -> Examples:
    """Read all images, and name all that can't be."""
    pixels: NDArray[np.uint8] | None = None
    problems: list[str] = []
    shapes: Counter[tuple[int, ...]] = Counter()
    for index, (path, _) in enumerate(files):
        try:
            image = decode(path, shape=shape, mode=mode)
        except UNREADABLE as error:
            problems.append(f"{path}: {error}")
            continue
        shapes[image.shape] += 1
        pixels = np.empty((len(files), *image.shape), dtype=np.uint8) if pixels is None else pixels
        if image.shape == pixels.shape[1:]:
            pixels[index] = image
    _raise_problems(problems, shapes)
    assert pixels is not None
    return Examples(torch.from_numpy(pixels), torch.tensor([label for _, label in files]))


def _raise_problems(problems: list[str], shapes: Counter[tuple[int, ...]]) -> None:
    found = []
    if problems:
        advice = "mend or remove them, or set data.unreadable to skip"
        found.append(f"{len(problems)} image(s) can't be read; {advice}:\n  {listed(problems)}")
    if len(shapes) > 1:
        sizes = ", ".join(f"{h} x {w} ({n})" for (_, h, w), n in shapes.most_common(SHOWN))
        found.append(f"images are of {len(shapes)} sizes: {sizes}; set data.size to scale them to one")
    if found:
        raise DataError("image_folder: " + "\n".join(found))
