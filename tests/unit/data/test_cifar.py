from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnray.data import cifar
from nnray.data import root as root_module
from nnray.data.cifar import cifar10
from nnray.errors import DataError
from tests.unit.data.files import trust_cifar, write_cifar


class _Malicious:
    def __reduce__(self) -> Any:
        return os.mkdir, ("hacked",)


def test_splits_are_the_batches_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = write_cifar(tmp_path, monkeypatch)
    splits = cifar10(root=str(tmp_path))
    assert splits.test is not None
    pixels = np.concatenate([batches[f"data_batch_{n}"]["data"] for n in range(1, 6)])
    assert np.array_equal(splits.train.inputs.numpy().reshape(100, 3072), pixels)
    labels = [label for n in range(1, 6) for label in batches[f"data_batch_{n}"]["labels"]]
    assert splits.train.targets.tolist() == labels
    assert np.array_equal(splits.test().inputs.numpy().reshape(20, 3072), batches["test_batch"]["data"])
    assert splits.info.input_shape == (3, 32, 32)


def test_file_with_one_flipped_bit_is_named_and_never_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar(tmp_path, monkeypatch)
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)

    opened: list[bytes] = []
    unpickler = cifar._ArraysOnly

    def watched(stream: io.BytesIO, **kwargs: Any) -> Any:
        opened.append(stream.getvalue())
        return unpickler(stream, **kwargs)

    monkeypatch.setattr(cifar, "_ArraysOnly", watched)
    with pytest.raises(DataError, match=r"data_batch_3: not the published file: its md5 is"):
        cifar10(root=str(tmp_path))
    assert len(opened) == 2
    assert bytes(data) not in opened


def test_pickle_that_would_run_code_is_refused_even_if_its_md5_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar(tmp_path, monkeypatch)
    folder = tmp_path / "cifar-10-batches-py"
    (folder / "data_batch_1").write_bytes(pickle.dumps(_Malicious(), protocol=2))
    trust_cifar(folder, monkeypatch)
    with pytest.raises(DataError, match=r"holds no batch of images .*mkdir is not allowed"):
        cifar10(root=str(tmp_path))
    assert not Path("hacked").exists()


@pytest.mark.parametrize("value", [{}, {"data": 1, "labels": 2}, 3, [1]])
def test_pickle_of_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: object
) -> None:
    write_cifar(tmp_path, monkeypatch)
    folder = tmp_path / "cifar-10-batches-py"
    (folder / "data_batch_5").write_bytes(pickle.dumps(value, protocol=2))
    trust_cifar(folder, monkeypatch)
    with pytest.raises(DataError, match="data_batch_5: holds no batch"):
        cifar10(root=str(tmp_path))


def test_missing_batches_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar(tmp_path, monkeypatch)
    monkeypatch.setattr(root_module, "network_problem", lambda source: "none")
    for name in ("data_batch_2", "test_batch"):
        (tmp_path / "cifar-10-batches-py" / name).unlink()
    with pytest.raises(DataError, match=r"(?s)2 file\(s\).*data_batch_2.*test_batch"):
        cifar10(root=str(tmp_path))
