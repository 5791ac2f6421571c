"""A set that streams is the set in memory: the same splits, examples and statistics, from the same files."""

from __future__ import annotations

import pickle
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from nnray.data.folder import image_folder
from nnray.data.prepare import prepare
from nnray.data.splits import DataSplits
from nnray.data.stream import Streamed
from nnray.data.stream_csv import csv
from nnray.data.stream_memory import first
from nnray.data.stream_parquet import parquet
from nnray.data.stream_prepare import prepare_streams
from nnray.errors import DataError
from tests.unit.data.files import write_images
from tests.unit.data.streams import (
    SHAPE,
    loaded,
    pixel_table,
    pixels,
    resident_splits,
    streamed_splits,
    write_csv,
    write_parquet,
)

KINDS = ["parquet", "csv", "image_folder"]


def both(kind: str, folder: Path, **options: Any) -> tuple[DataSplits, DataSplits]:
    """The splits of small files of a kind, streamed and in memory."""
    if kind == "image_folder":
        write_images(folder, counts={"a": 40, "b": 30, "c": 12})
        made = [image_folder(root=str(folder), stream=stream) for stream in (True, False)]
        options = {"name": kind, "seed": 1, **options}
        return prepare_streams(made[0], **options), prepare(made[1], **options)  # type: ignore[arg-type]
    {"parquet": write_parquet, "csv": write_csv}[kind](folder)
    return streamed_splits(folder, kind=kind, **options), resident_splits(folder, kind=kind, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"validation": 20, "limit": 25}])
def test_a_streamed_set_has_the_splits_of_one_in_memory(
    kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    streamed, resident = both(kind, tmp_path / "data", **options)
    assert streamed.test is not None
    assert resident.test is not None
    for one, other in [
        (streamed.train, resident.train),
        (streamed.val, resident.val),
        (streamed.test(), resident.test()),
    ]:
        assert isinstance(one, Streamed)
        assert torch.equal(loaded(one).inputs, loaded(other).inputs)
        assert torch.equal(loaded(one).targets, loaded(other).targets)


@pytest.mark.parametrize("kind", KINDS)
def test_one_pass_gives_the_statistics_of_two(kind: str, tmp_path: Path) -> None:
    streamed, resident = both(kind, tmp_path / "data")
    assert streamed.info.input_shape == resident.info.input_shape
    assert streamed.info.classes == resident.info.classes
    np.testing.assert_allclose(streamed.info.mean, resident.info.mean, rtol=1e-6)
    np.testing.assert_allclose(streamed.info.std, resident.info.std, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_digest_is_of_the_splits(kind: str, tmp_path: Path) -> None:
    digests = [both(kind, tmp_path / name, seed=seed)[0].info.digest for name, seed in ["a1", "b1", "c2"]]
    assert digests[0] == digests[1] != digests[2]
    assert len(digests[0]) == 64


@pytest.mark.parametrize("kind", KINDS)
def test_a_streamed_split_pickles_without_its_examples(kind: str, tmp_path: Path) -> None:
    streamed = both(kind, tmp_path / "data")[0]
    again = pickle.loads(pickle.dumps(streamed))
    assert torch.equal(loaded(again.train).inputs, loaded(streamed.train).inputs)
    assert torch.equal(first(again.train, 2).inputs, loaded(streamed.train).inputs[:2])


def test_splits_of_their_own_are_taken_from_folders_and_names(tmp_path: Path) -> None:
    for part, count in [("train", 90), ("validation", 30), ("test", 20)]:
        write_parquet(tmp_path / "folders" / part, count=count)
        x, y = pixels(count)
        pq.write_table(pixel_table(x, y), tmp_path / f"{part}-00000-of-00001.parquet")
    for folder in (tmp_path / "folders", tmp_path):
        splits = streamed_splits(folder) if folder != tmp_path else None
        splits = splits or streamed_splits_of_names(tmp_path)
        assert splits.val is not None
        assert splits.test is not None
        assert (len(splits.train), len(splits.val), len(splits.test())) == (90, 30, 20)


def streamed_splits_of_names(folder: Path) -> DataSplits:
    names = folder / "names"
    names.mkdir()
    for path in folder.glob("*.parquet"):
        path.rename(names / path.name)
    return streamed_splits(names)


def test_the_test_split_is_not_opened_before_it_is_called_for(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "0.parquet").write_bytes(b"not Parquet")
    splits = streamed_splits(tmp_path)
    assert splits.test is not None
    with pytest.raises(DataError, match=r"test/0\.parquet: not a readable Parquet file"):
        splits.test()


def test_pictures_in_a_column_are_decoded(tmp_path: Path) -> None:
    x, y = pixels(30)
    encoded = []
    for row in x:
        buffer = BytesIO()
        Image.fromarray(row.reshape(4, 5, 3)).save(buffer, "png")
        encoded.append({"bytes": buffer.getvalue(), "path": "a.png"})
    tmp_path.joinpath("d").mkdir()
    pq.write_table(pa.table({"image": encoded, "label": y}), tmp_path / "d" / "a.parquet", row_group_size=7)
    streams = parquet(root=str(tmp_path / "d"), stream=True, image="image", test=0)
    found = np.concatenate([block for shard in range(5) for block in streams.train.read(shard)])
    assert np.array_equal(found, x.reshape(30, 4, 5, 3).transpose(0, 3, 1, 2))


def test_the_byte_ranges_of_a_csv_file_are_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv(tmp_path / "d", count=400, files=1)
    whole = loaded(streamed_splits(tmp_path / "d", kind="csv").train)
    monkeypatch.setattr("nnray.data.stream_csv.BLOCK_BYTES", 1000)
    small = streamed_splits(tmp_path / "d", kind="csv").train
    assert isinstance(small, Streamed)
    assert len(small.source.sizes) > 10
    assert torch.equal(loaded(small).inputs, whole.inputs)
    assert torch.equal(loaded(small).targets, whole.targets)


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_uris_are_read(scheme: str, tmp_path: Path) -> None:
    write_parquet(tmp_path / "data")
    root = f"file://{tmp_path}/data"
    if scheme == "memory":  # an object store, as fsspec sees it
        import fsspec

        store = fsspec.filesystem("memory")
        for path in (tmp_path / "data").iterdir():
            store.pipe(f"/bucket/set/{path.name}", path.read_bytes())
        root = "memory://bucket/set"
    streams = parquet(root=root, stream=True, shape=SHAPE)
    found = prepare_streams(streams, name="parquet", seed=1)
    assert torch.equal(loaded(found.train).inputs, loaded(streamed_splits(tmp_path / "data").train).inputs)


def test_reading_imports_no_torch() -> None:
    code = (
        "import sys, nnray.data.stream_parquet, nnray.data.stream_csv, nnray.data.stream_images;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def table(**columns: Any) -> pa.Table:
    return pa.table({"label": [0, 1, 0, 1], "f": [1.0, 2.0, 3.0, 4.0]} | columns)


@pytest.mark.parametrize(
    ("broken", "options", "message"),
    [
        ({"label": [0, 1, None, 1]}, {}, "1 labels are missing"),
        ({"label": [0.5, 1, 0, 1]}, {}, "neither texts nor whole numbers"),
        ({"label": [0, 0, 0, 0]}, {}, "at least two"),
        ({"label": [0, 1, 0, 90]}, {}, "labels go up to 90, there are 4 examples"),
        ({"label": [-1, 1, 0, 1]}, {}, "labels go from -1 to 1; allowed: 0 to 1"),
        ({"f": [1.0, None, 3.0, 4.0]}, {}, "column f has empty values"),
        ({"f": ["a", "b", "c", "d"]}, {}, "column f is no number"),
        ({"f": [1.0, float("nan"), 3.0, 4.0]}, {}, "holds nan; every value must be a finite number"),
        ({"f": [[1.0], [2.0, 3.0], [1.0], [2.0]]}, {}, "lists in column f are of several lengths"),
        (
            {"f": [[1, 2], [3, 400], [1, 2], [3, 4]]},
            {"shape": [1, 1, 2]},
            "go from 1 to 400; allowed: 0 to 255",
        ),
        ({"f": [[1, 2]] * 4}, {"shape": [1, 1, 3]}, r"rows have 2 numbers; data.shape \[1, 1, 3\] takes 3"),
        ({"f": [[0.0, 2.0]] * 4}, {"shape": [1, 1, 2]}, "pixels go from 0 to 2; allowed: 0 to 1 as floats"),
        ({}, {"label": "target"}, "has no column target; it has label, f; name them by data.label"),
        ({}, {"columns": ["g"]}, "has no column g"),
        ({"f": [b"x"] * 4}, {"image": "f"}, "a picture in f can't be read"),
    ],
)
def test_what_can_not_be_learnt_from_is_told(
    broken: dict[str, Any], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    pq.write_table(table(**broken), tmp_path / "a.parquet")

    def splits() -> DataSplits:
        made = parquet(root=str(tmp_path), stream=True, test=0, **options)
        return prepare_streams(made, name="parquet", seed=0, validation=1)

    with pytest.raises(DataError, match=message):
        splits()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"no \.csv file"),
        ({"a.csv": "label,f\n"}, "no lines below the names"),
        ({"a.csv": "label,f\n0,1\n1\n"}, "expected one example a line, of 2 values"),
        ({"a.csv": "label,f\n0,1\n", "b.csv": "label,g\n1,1\n"}, "columns are not those of"),
        (
            {"train.csv": "label,f\n0,1\n", "notes.csv": "label,f\n0,1\n"},
            r"1 file\(s\).* of no split: notes.csv",
        ),
        ({"test.csv": "label,f\n0,1\n"}, "none to train on"),
    ],
)
def test_what_is_wrong_with_csv_files_is_told(files: dict[str, str], message: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        csv(root=str(tmp_path), stream=True, test=0)


def test_an_address_that_nothing_knows_is_told() -> None:
    with pytest.raises(DataError, match=r"data\.root is 'nowhere://bucket'.*allowed: a path, or a URI"):
        parquet(root="nowhere://bucket", stream=True)


def test_images_of_two_sizes_are_told_with_the_remedy(tmp_path: Path) -> None:
    write_images(tmp_path, counts={"a": 20})
    write_images(tmp_path, counts={"b": 20}, size=(9, 9))
    with pytest.raises(DataError, match=r"is 9 x 9, the first image is 6 x 5; set data\.size"):
        prepare_streams(image_folder(root=str(tmp_path), stream=True), name="image_folder", seed=0)  # type: ignore[arg-type]
    made = image_folder(root=str(tmp_path), stream=True, size=8)
    assert prepare_streams(made, name="image_folder", seed=0).info.input_shape == (3, 8, 8)  # type: ignore[arg-type]
