"""MNIST and Fashion-MNIST from their idx files, plain or gzipped.

Read here rather than by torchvision: it takes seconds to import and reads plain files only.

Source: LeCun, Cortes and Burges, "The MNIST database", format of the idx files.
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nnray.data.mnist_writers import writers
from nnray.data.root import find_files
from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.errors import DataError

_UBYTE = 0x08
_CLOTHES = (
    "t-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"
)  # fmt: skip


def mnist(*, root: str | None = None) -> DataSplits:
    """Handwritten digits, 28 x 28 grey, ten classes: 60,000 to learn from, 10,000 to test on.

    With ``writers.npz`` beside them, federated clients may be the 539 people who wrote the training digits.

    Args:
        root: Folder that has ``MNIST/raw``; None means ``$NNRAY_DATA``, else the user's cache folder.
    """
    splits = _idx_splits("mnist", "MNIST", root=root, classes=tuple("0123456789"))
    return replace(splits, groups=partial(writers, root))


def fashion_mnist(*, root: str | None = None) -> DataSplits:
    """Pictures of clothes, 28 x 28 grey, ten classes: 60,000 to learn from, 10,000 to test on.

    Args:
        root: Folder that has ``FashionMNIST/raw``; None means ``$NNRAY_DATA``, else the user's cache folder.
    """
    return _idx_splits("fashion_mnist", "FashionMNIST", root=root, classes=_CLOTHES)


def read_idx(path: Path, *, dims: int) -> Tensor:
    """Read an idx file of unsigned bytes.

    Args:
        path: Plain, or gzipped if it ends in ``.gz``.
        dims: How many dimensions it must have.

    Raises:
        DataError: It is unreadable, truncated, too long, or another kind of file.
    """
    data = _read(path)
    magic, header = bytes((0, 0, _UBYTE, dims)), 4 + 4 * dims
    if data[:4] != magic[: len(data)] or not data:
        raise DataError(
            f"{path}: not an idx file of bytes in {dims} dimensions: it starts with "
            f"{data[:4].hex() or 'nothing'}, not {magic.hex()}; replace it by the published file"
        )
    shape = tuple(int.from_bytes(data[at : at + 4], "big") for at in range(4, header, 4))
    expected = header + math.prod(shape)
    if len(data) != expected or len(data) < header:
        fault = "truncated" if len(data) < max(expected, header) else "too long"
        raise DataError(
            f"{path}: {fault}: {len(data)} bytes, where its header announces {expected} for shape {shape}; "
            "delete it and get it again"
        )
    return torch.from_numpy(np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape))


def _read(path: Path) -> bytearray:
    # A bytearray, so that the tensor over it may be written to.
    try:
        raw = path.read_bytes()
        return bytearray(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: unreadable ({error}); delete it and get it again") from error


def _idx_splits(name: str, source: str, *, root: str | None, classes: tuple[str, ...]) -> DataSplits:
    kinds = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    places = {kind: (f"{source}/raw/{kind}", f"{source}/raw/{kind}.gz") for kind in kinds}
    files = find_files(root, name=name, source=source, files=places)
    paths = [files[kind] for kind in kinds]
    train = _labelled(images=paths[0], labels=paths[1])
    info = DataInfo(name, tuple(train.inputs.shape[1:]), classes)
    return DataSplits(train, None, partial(_labelled, images=paths[2], labels=paths[3]), info)


def _labelled(*, images: Path, labels: Path) -> Examples:
    inputs, targets = read_idx(images, dims=3), read_idx(labels, dims=1)
    if len(inputs) != len(targets):
        raise DataError(f"{images} has {len(inputs)} images, but {labels} has {len(targets)} labels")
    return Examples(inputs.unsqueeze(1), targets.long())
