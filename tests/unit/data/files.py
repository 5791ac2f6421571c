"""Small data sets on the disk, in the published formats."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nnray.data import cifar

PARTS = {"train": 40, "t10k": 20}


def idx_bytes(array: np.ndarray[Any, Any]) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx(root: Path, source: str = "MNIST", *, packed: bool = False, size: int = 6) -> dict[str, Any]:
    """Write the four files of an MNIST-like set; gives the arrays."""
    rng, raw = np.random.default_rng(3), root / source / "raw"
    raw.mkdir(parents=True)
    arrays = {}
    for part, count in PARTS.items():
        arrays[f"{part}-images-idx3-ubyte"] = rng.integers(0, 256, (count, size, size), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = rng.permutation(np.arange(count) % 10).astype(np.uint8)
    for name, array in arrays.items():
        data = idx_bytes(array)
        path = raw / f"{name}.gz" if packed else raw / name
        path.write_bytes(gzip.compress(data) if packed else data)
    return arrays


def python2_pickle(pixels: np.ndarray[Any, Any], labels: list[int]) -> bytes:
    """A batch as Python 2 and the NumPy of 2009 pickled it: byte strings, and a module of an old name."""
    rows, columns = (b"M" + size.to_bytes(2, "little") for size in pixels.shape)
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    data = pixels.tobytes()
    state = (
        b"(K\x01"
        + rows
        + columns
        + b"\x86"
        + dtype
        + b"\x89T"
        + len(data).to_bytes(4, "little")
        + data
        + b"tb"
    )
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(U\x04data" + empty + state + b"U\x06labels" + listed + b"u."


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch, *, count: int = 20) -> dict[str, Any]:
    """Write six batches of a CIFAR-like set, and have their md5 taken for the published ones."""
    rng, folder = np.random.default_rng(4), root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    batches = {}
    for name in cifar.MD5:
        pixels = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        labels = [int(v) for v in rng.permutation(np.arange(count) % 10)]
        (folder / name).write_bytes(python2_pickle(pixels, labels))
        batches[name] = {"data": pixels, "labels": labels}
    trust_cifar(folder, monkeypatch)
    return batches


def trust_cifar(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the md5 of the files that are there for the published ones."""
    found = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in cifar.MD5}
    monkeypatch.setattr(cifar, "MD5", found)


def write_images(
    root: Path, *, counts: dict[str, int], size: tuple[int, int] = (6, 5), seed: int = 5
) -> None:
    """Write PNG files of noise, so many of each class; the size is height, width."""
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")


def write_npz(path: Path, *, parts: tuple[str, ...] = ("train", "test"), count: int = 30) -> dict[str, Any]:
    """Write grey images of three classes under x_PART and y_PART; gives the arrays."""
    rng = np.random.default_rng(6)
    arrays = {}
    for part in parts:
        suffix = f"_{part}" if part else ""
        arrays[f"x{suffix}"] = rng.integers(0, 256, (count, 4, 5), dtype=np.uint8)
        arrays[f"y{suffix}"] = rng.permutation(np.arange(count) % 3)
    np.savez(path, **arrays)
    return arrays
