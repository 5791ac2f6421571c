"""Answers are the same in every format, and a file is whole or not there."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from nnray.errors import ConfigError
from nnray.runners.prediction.answers import Answers, Numbers
from nnray.runners.prediction.write import Format, format_of, writing

CLASSES = ("cat", "dog, small", 'a "fox"')
Row = tuple[str, int, str, float, list[float]]


def some(*names: str, seed: int = 0) -> Answers:
    logits = np.random.default_rng(seed).normal(size=(len(names), 3))
    exponent = np.exp(logits)
    return Answers(list(names), exponent / exponent.sum(1, keepdims=True), CLASSES)


PARTS = [some("a.png", "b, c.png"), some("ä.png", seed=1), some(*map(str, range(300)), seed=2)]


def from_csv(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["name", "label", "class", "confidence", *(f"p_{name}" for name in CLASSES)]
    return [(name, int(k), which, float(c), list(map(float, ps))) for name, k, which, c, *ps in rows]


def from_json(path: Path) -> list[Row]:
    found = json.loads(path.read_text(encoding="utf-8"))
    return [
        (row["name"], row["label"], row["class"], row["confidence"], list(row["probabilities"].values()))
        for row in found
    ]


def from_parquet(path: Path) -> list[Row]:
    name, label, which, confidence, *of = (column.to_pylist() for column in pq.read_table(path).columns)
    ps = [list(row) for row in zip(*of, strict=True)]
    return list(zip(name, label, which, confidence, ps, strict=True))


READERS: dict[Format, Callable[[Path], list[Row]]] = {
    "csv": from_csv,
    "json": from_json,
    "parquet": from_parquet,
}


@pytest.mark.parametrize("file_format", READERS)
def test_what_is_written_is_read_again(file_format: Format, tmp_path: Path) -> None:
    path = tmp_path / "new" / "out"
    with writing(path, file_format=file_format, classes=CLASSES, probabilities=True) as write:
        for part in PARTS:
            write(part)
        assert not path.exists()
    rows = READERS[file_format](path)
    told = np.concatenate([part.probabilities for part in PARTS])
    assert [row[0] for row in rows] == [name for part in PARTS for name in part.names]
    assert [row[1] for row in rows] == told.argmax(1).tolist()
    assert all(row[2] == CLASSES[row[1]] for row in rows)
    assert np.allclose([row[3] for row in rows], told.max(1), rtol=1e-8, atol=0)
    assert np.allclose([row[4] for row in rows], told, rtol=1e-8, atol=0)
    assert [each.name for each in path.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("file_format", READERS)
def test_what_ends_early_leaves_the_file_as_it_was(
    file_format: Format, error: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "out"
    path.write_text("before")

    def end_early() -> None:
        with writing(path, file_format=file_format, classes=CLASSES, probabilities=False) as write:
            write(PARTS[0])
            raise error

    with pytest.raises(error):
        end_early()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("file_format", READERS)
def test_without_probabilities_there_are_four_columns(file_format: Format, tmp_path: Path) -> None:
    path = tmp_path / "out"
    with writing(path, file_format=file_format, classes=CLASSES, probabilities=False) as write:
        write(PARTS[0])
    names = ["name", "label", "class", "confidence"]
    if file_format == "parquet":
        assert pq.read_table(path).column_names == names
    elif file_format == "json":
        assert [list(row) for row in json.loads(path.read_text())] == [names, names]
    else:
        assert path.read_text().splitlines()[0] == ",".join(names)


def test_many_small_parts_are_few_row_groups(tmp_path: Path) -> None:
    with writing(tmp_path / "o", file_format="parquet", classes=CLASSES, probabilities=False) as write:
        for _ in range(200):
            write(PARTS[0])
    assert pq.ParquetFile(tmp_path / "o").num_row_groups == 1
    assert pq.read_table(tmp_path / "o").num_rows == 400


@pytest.mark.parametrize("file_format", ["csv", "json"])
def test_a_stream_stays_open(file_format: Format) -> None:
    stream = io.StringIO()
    with writing(stream, file_format=file_format, classes=CLASSES, probabilities=False) as write:
        write(PARTS[0])
    assert "a.png" in stream.getvalue()


def test_the_name_says_the_format_unless_it_is_asked_for() -> None:
    assert format_of(Path("a.PARQUET"), None) == "parquet"
    assert format_of(Path("a.csv"), "json") == "json"
    assert format_of(Path("answers"), "csv") == "csv"
    assert format_of(None, None) == format_of(io.StringIO(), None) == "csv"
    assert format_of(io.StringIO(), "json") == "json"


def test_formats_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"out: is 'a.xlsx'; allowed: names that end in .csv"):
        format_of(Path("a.xlsx"), None)
    with pytest.raises(ConfigError, match="name a file with --out"):
        format_of(io.StringIO(), "parquet")
    with pytest.raises(ConfigError, match=r"format: is 'xml'; allowed: csv, json, parquet"):
        format_of(None, "xml")  # type: ignore[arg-type]


@pytest.mark.parametrize("file_format", READERS)
def test_numbers_are_written_in_every_format(file_format: Format, tmp_path: Path) -> None:
    parts = [Numbers(["a", "b, c"], np.array([1.5, -2.0])), Numbers(["ä"], np.array([1 / 3]))]
    with writing(tmp_path / "o", file_format=file_format, classes=(), probabilities=False) as write:
        for part in parts:
            write(part)
    if file_format == "parquet":
        rows = pq.read_table(tmp_path / "o").to_pylist()
    elif file_format == "json":
        rows = json.loads((tmp_path / "o").read_text())
    else:
        rows = list(csv.DictReader(io.StringIO((tmp_path / "o").read_text())))
    assert [list(row) for row in rows] == [["name", "prediction"]] * 3
    assert [row["name"] for row in rows] == ["a", "b, c", "ä"]
    assert [float(row["prediction"]) for row in rows] == pytest.approx([1.5, -2, 1 / 3], rel=1e-8)


def test_a_threshold_says_the_class_and_its_confidence(tmp_path: Path) -> None:
    told = Answers(["a", "b"], np.array([[0.7, 0.3], [0.71, 0.29]]), ("no", "yes"), threshold=0.3)
    with writing(tmp_path / "o", file_format="csv", classes=told.classes, probabilities=True) as write:
        write(told)
    assert (tmp_path / "o").read_text().splitlines() == [
        "name,label,class,confidence,p_no,p_yes",
        "a,1,yes,0.3,0.7,0.3",
        "b,0,no,0.71,0.71,0.29",
    ]
