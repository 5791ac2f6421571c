"""Raw texts as inputs: cut as in training, whatever file they stand in; what is no text is told of."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from nnray.data import input_pieces
from nnray.data.input_files import read_piece
from nnray.data.input_pieces import Piece
from nnray.data.inputs import Inputs, read_inputs
from nnray.data.splits import DataInfo
from nnray.data.tokens import fit_tokenizer
from nnray.errors import DataError
from nnray.runners.prediction.worker import reading_of

TEXTS = ["see you at home", "WIN a prize, now", 'so "quoted", it is', "unheard of words at home", ""]
TOKENIZER = fit_tokenizer(["see you at home", "win a prize, now"], length=6)
INFO = DataInfo(
    "texts",
    (6,),
    ("ham", "spam"),
    vocabulary=len(TOKENIZER.vocabulary),
    encoder=TOKENIZER.to_json(),
)
ROWS = DataInfo("rows", (3,), ("a", "b"))
IMAGES = DataInfo("images", (1, 4, 6), ("a", "b"))


def write(path: Path, texts: list[str] = TEXTS, *, column: str = "text", delimiter: str = ",") -> Path:
    """Write texts in the form that the file's name says."""
    if path.suffix == ".txt":
        path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.table({"id": range(len(texts)), column: texts}), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, delimiter=delimiter)
            table.writerows([("id", column), *enumerate(texts)])
    return path


def problems(inputs: Inputs) -> dict[str, str]:
    inputs.skip_unreadable = True
    inputs.collect()
    return {each.name: each.reason for each in inputs.tally.unreadable}


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.parquet"])
@pytest.mark.parametrize("block", [1, 100, 4 << 20])
def test_texts_become_the_ids_that_they_were_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, block: int
) -> None:
    monkeypatch.setattr(input_pieces, "BLOCK_BYTES", block)
    path = write(tmp_path / name)
    found = read_inputs([path], INFO).collect()
    assert found.names == [f"{path}:{row}" for row in range(len(TEXTS))]
    assert found.inputs.dtype == torch.int64
    assert torch.equal(found.inputs, TOKENIZER.encode(TEXTS))


def test_pieces_can_be_read_elsewhere(tmp_path: Path) -> None:
    """As JSON they go to workers, which read the same."""
    inputs = read_inputs([write(tmp_path / "a.csv"), write(tmp_path / "b.txt")], INFO)
    reading, parts = reading_of(json.dumps(asdict(inputs.reading))), []
    for piece in inputs.pieces():
        assert isinstance(piece, Piece)
        values = json.loads(json.dumps(asdict(piece)))
        again = Piece(**values | {"paths": tuple(values["paths"])})
        parts += [portion.values for portion in read_piece(again, reading)]
    assert np.array_equal(np.concatenate(parts), inputs.collect().inputs.numpy())


def test_the_column_of_texts_is_found_or_named(tmp_path: Path) -> None:
    expected = TOKENIZER.encode(TEXTS)
    path = write(tmp_path / "a.csv", column="review", delimiter=";")
    named = read_inputs([path], INFO, columns=["review"], delimiter=";")
    assert torch.equal(named.collect().inputs, expected)
    only = read_inputs([path], INFO, label="id", delimiter=";")
    assert torch.equal(only.collect().inputs, expected)
    told = problems(read_inputs([path, write(tmp_path / "b.txt")], INFO, delimiter=";"))
    assert told == {
        str(path): "has no column text; it has id, review: name the column of the texts with --columns"
    }


def test_a_folder_gives_a_model_of_texts_its_texts_and_other_models_none(tmp_path: Path) -> None:
    write(tmp_path / "a.txt")
    write(tmp_path / "b.csv")
    (tmp_path / "c.png").write_bytes(b"no picture")
    assert len(read_inputs([tmp_path], INFO).collect().names) == 2 * len(TEXTS)
    (tmp_path / "b.csv").write_text("x,y,z\n1,2,3\n")
    (tmp_path / "c.png").unlink()
    assert read_inputs([tmp_path], ROWS).collect().names == [f"{tmp_path / 'b.csv'}:0"]


@pytest.mark.parametrize(
    ("info", "name", "reason"),
    [
        (ROWS, "a.txt", "holds texts; the model takes rows of 3 numbers"),
        (IMAGES, "a.txt", "holds texts; the model takes pictures"),
        (INFO, "a.npz", "holds no texts, which the model takes; allowed: .txt, .csv, .parquet, .pq"),
    ],
)
def test_texts_are_for_models_of_texts(tmp_path: Path, info: DataInfo, name: str, reason: str) -> None:
    path = tmp_path / name
    path.write_text("some words\n", encoding="utf-8")
    with pytest.raises(DataError, match=f"{name}: {reason}"):
        read_inputs([path], info).collect()


def test_rows_that_hold_no_text_are_told(tmp_path: Path) -> None:
    short = tmp_path / "a.csv"
    short.write_text("id,text\n0,fine\n1\n2,fine,too\n3,well\n", encoding="utf-8")
    numbers = tmp_path / "b.parquet"
    pq.write_table(pa.table({"text": pa.array([None, "well"], pa.string())}), numbers)
    inputs = read_inputs([short, numbers], INFO)
    assert problems(inputs) == {
        f"{short}:1": "has 1 values; expected 2",
        f"{short}:2": "has 3 values; expected 2",
        f"{numbers}:0": "column text has None; expected a text",
    }
    assert inputs.tally.rows == 3


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"", "has no texts"),
        ("a.csv", b"text\n", "has no texts"),
        ("a.csv", b"", "has no column text; it has none"),
        ("a.txt", b"\xff\xfe\xff", "is no text in UTF-8"),
        ("a.csv", b'text\n"open', "line 2: unexpected end of data; expected a CSV file"),
    ],
)
def test_files_without_texts_are_told(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=reason):
        read_inputs([tmp_path / name], INFO).collect()


def test_a_model_of_tokens_that_knows_no_texts_is_refused(tmp_path: Path) -> None:
    info = DataInfo("ids", (6,), ("a", "b"), vocabulary=9)
    with pytest.raises(DataError, match=r"its data set ids says nothing of how texts become"):
        read_inputs([write(tmp_path / "a.txt")], info)
