"""Arrays in a NumPy ``.npz`` file; nothing in it is ever unpickled."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nnray.data.check import as_examples
from nnray.data.root import data_root
from nnray.data.splits import Examples
from nnray.data.stratify import split_off
from nnray.errors import DataError
from nnray.fields import NonNegative, NonNegativeInt
from nnray.seeding import derive

Array = NDArray[Any]
Layout = Literal["auto", "chw", "hwc"]
_FEW = (1, 3, 4)


def npz(
    *,
    root: str | None = None,
    file: str | None = None,
    layout: Layout = "auto",
    test: NonNegative = 0.2,
    split_seed: NonNegativeInt = 0,
) -> dict[str, Any]:
    """Arrays ``x_train``, ``y_train``, ``x_test``, ``y_test`` of an .npz file, or just ``x`` and ``y``.

    ``x_val`` and ``y_val`` may be there too, and ``classes``, the names of the classes. Labels are
    numbers from 0, or texts.

    Args:
        root: The file, or the folder that has it; None means ``$NNRAY_DATA``, else the user's cache folder.
        file: Name of the file below the root, or its path from the working folder.
        layout: Of images: channels first (chw) or last (hwc); auto tells by the axis of size 1, 3 or 4,
            and takes [N, H, W] as grey.
        test: Share (below 1) or count (from 1 on) of ``x`` to test on, stratified, 0 for none; not
            used if there is an ``x_test``.
        split_seed: Which of them; its own, so that experiments of any seed test on the same examples.
    """
    path = _find(root, file)
    names = _names(path)
    stem = "x_train" if "x_train" in names else "x"
    pairs = [(stem, stem.replace("x", "y", 1))]
    pairs += [(f"x_{part}", f"y_{part}") for part in ("val", "test") if f"x_{part}" in names]
    if missing := sorted({key for pair in pairs for key in pair} - names):
        raise DataError(
            f"{path}: has no {', '.join(missing)}; it has {', '.join(sorted(names)) or 'nothing'}; expected "
            "x_train, y_train, x_test, y_test, or x and y"
        )
    classes = _read(path, "classes").tolist() if "classes" in names else None
    x, y = _pair(path, *pairs[0], layout=layout)
    if y.dtype.kind in "US" and classes is None:
        classes = np.unique(y).tolist()
    parts: dict[str, Any] = {"train": (x, _numbered(path, y, classes)), "classes": classes}
    if "x_val" in names:
        parts["val"] = _labelled(path, "val", layout=layout, classes=classes)
    if "x_test" in names:
        parts["test"] = lambda: _labelled(path, "test", layout=layout, classes=classes)
    elif stem == "x" and test:
        parts |= _hold_back(as_examples(parts["train"], where=f"{path}"), amount=test, split_seed=split_seed)
    return parts


def _hold_back(whole: Examples, *, amount: float, split_seed: int) -> dict[str, Any]:
    if int(whole.targets.min()) < 0:
        return {}
    held, rest = split_off(
        whole.targets, amount=amount, seed=derive(split_seed, "npz", "test"), key="data.test"
    )
    return {"train": whole.take(rest), "test": lambda: whole.take(held)}


def _find(root: str | None, file: str | None) -> Path:
    base = data_root(root)
    places = [base / file, Path(file).expanduser().absolute()] if file else [base]
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(str(place) for place in dict.fromkeys(places))
    raise DataError(f"npz: there is no such file: {looked}; set data.root or data.file to an .npz file")


def _names(path: Path) -> set[str]:
    return set(_open(path, lambda archive: archive.files))


def _read(path: Path, key: str) -> Array:
    array: Array = _open(path, lambda archive: archive[key])
    return array


def _open(path: Path, read: Any) -> Any:
    try:
        # Opened here: np.load leaves a file that it can't read open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return read(archive)
    except (
        OSError,
        ValueError,
        EOFError,
        AttributeError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise DataError(f"{path}: not a readable .npz file of plain arrays ({error})") from error


def _pair(path: Path, x_key: str, y_key: str, *, layout: Layout) -> tuple[Array, Array]:
    return _channels_first(_read(path, x_key), layout), _read(path, y_key)


def _labelled(path: Path, part: str, *, layout: Layout, classes: Sequence[str] | None) -> tuple[Array, Array]:
    x, y = _pair(path, f"x_{part}", f"y_{part}", layout=layout)
    return x, _numbered(path, y, classes)


def _channels_first(x: Array, layout: Layout) -> Array:
    if x.ndim == 3:
        return x[:, None]
    told = layout == "hwc" or (layout == "auto" and x.ndim == 4 and x.shape[1] not in _FEW)
    last = x.ndim == 4 and told and (layout == "hwc" or x.shape[3] in _FEW)
    return x.transpose(0, 3, 1, 2) if last else x


def _numbered(path: Path, y: Array, classes: Sequence[str] | None) -> Array:
    if y.dtype.kind not in "US" or classes is None:
        return y
    number = {name: label for label, name in enumerate(classes)}
    if unknown := sorted(set(y.ravel().tolist()) - number.keys()):
        raise DataError(
            f"{path}: labels {unknown[:10]} are no classes; allowed: {', '.join(map(str, classes))}"
        )
    return np.array([number[name] for name in y.ravel().tolist()], dtype=np.int64)
