"""Who wrote the digits of MNIST, read only when a run asks for natural clients.

Source: the extended labels of Yadav and Bottou, "Cold case: the lost MNIST digits", 2019, which tell the NIST
    writer of each image; the file holds them in the order of the images.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from nnray.data.groups import Groups, numbered_groups
from nnray.data.root import data_root
from nnray.errors import DataError

_FILE, _KEY = "writers.npz", "train_writer"
_FOLDERS = ("MNIST", "mnist", ".", "MNIST/raw")


def writers(root: str | None) -> Groups:
    """The writer of each training digit.

    Args:
        root: As given to ``mnist``.

    Raises:
        DataError: The file is missing, unreadable, or another.
    """
    path = _find(data_root(root))
    try:
        # Opened here: np.load leaves a file that it can't read open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            ids = archive[_KEY]
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: not an .npz file with an array {_KEY} ({error}); replace it by the published file"
        ) from error
    return numbered_groups(ids, kind="writer")


def _find(root: Path) -> Path:
    places = [root / folder / _FILE for folder in _FOLDERS]
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(map(str, places))
    raise DataError(
        f"mnist: {_FILE}, which tells who wrote each digit, is missing: looked for {looked}; put it there, "
        "or take another federated.partition than natural"
    )
