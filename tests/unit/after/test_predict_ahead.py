"""Forecasts of what comes after series in a file, and models that can't be asked so."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import nnray
from nnray.data.input_series import last_windows
from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, DataError
from nnray.runners.prediction import goes_on
from nnray.runners.prediction.kinds import require_answers
from nnray.runners.subject import open_subject
from tests.unit.after.conftest import Trained, train_below
from tests.unit.data.series_files import write_series

SHOPS = """
name: shops
task: {{name: forecasting}}
data: {{name: series_csv, root: {folder}, file: shops.csv, targets: [sales], inputs: [visitors], group: shop,
       past: 6, horizon: 3, missing: forward}}
model: {{name: dlinear, kernel: 3}}
training: {{epochs: 1, batch_size: 16}}
"""
INFO = DataInfo("s", (2, 6), (), targets="numbers", target_shape=(1, 3), features=("sales", "visitors"))


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("shops")
    write_series(folder / "shops.csv")
    file = folder / "shops.yaml"
    file.write_text(SHOPS.format(folder=folder))
    return train_below(folder, file)


def ask(shops: Trained, **kwargs: Any) -> Any:
    return nnray.predict(shops.result, shops.folder / "shops.csv", root=shops.root, **kwargs)


def test_it_goes_on_with_the_last_rows_of_each_series(shops: Trained) -> None:
    found = ask(shops)
    with (shops.folder / "shops.csv").open() as file:
        rows = list(csv.DictReader(file))
    module = open_subject(str(shops.result.folder)).module
    for number, shop in enumerate(("east", "west")):
        last = [row for row in rows if row["shop"] == shop][-6:]
        window = torch.tensor([[float(row[name]) for row in last] for name in ("sales", "visitors")])
        with torch.no_grad():
            wanted = module(window[None])[0, 0].tolist()
        told = found.answers[3 * number : 3 * number + 3]
        assert [row["step"] for row in told] == [1, 2, 3]
        assert {row["name"] for row in told} == {f"{shops.folder / 'shops.csv'}:{shop}"}
        assert [row["sales"] for row in told] == pytest.approx(wanted, rel=1e-5)
    assert found.rows == 2


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_files_hold_the_same_rows(shops: Trained, form: str) -> None:
    path = shops.folder / f"next.{form}"
    assert ask(shops, out=path).files == [str(path)]
    if form == "csv":
        rows: Any = list(csv.DictReader(io.StringIO(path.read_text())))
    elif form == "json":
        rows = json.loads(path.read_text())
    else:
        import pyarrow.parquet as pq

        rows = pq.read_table(path).to_pylist()
    for row, wanted in zip(rows, ask(shops).answers, strict=True):
        assert (row["name"], int(row["step"])) == (wanted["name"], wanted["step"])
        assert float(row["sales"]) == pytest.approx(wanted["sales"], rel=1e-6)


def test_a_stream_takes_csv(shops: Trained) -> None:
    stream = io.StringIO()
    ask(shops, out=stream)
    assert stream.getvalue().splitlines()[0] == "name,step,sales"
    assert len(stream.getvalue().splitlines()) == 7


@pytest.mark.parametrize("asked", ["probabilities", "resize", "skip_unreadable", "on_ray"])
def test_what_is_for_classes_is_refused(shops: Trained, asked: str) -> None:
    with pytest.raises(ConfigError, match="not for models that go on with series"):
        ask(shops, **{asked: True})


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"columns": ["sales"]}, r"takes 2 channel\(s\), 1 column\(s\) are named"),
        ({"columns": ["sales", "profit"]}, "has no column profit"),
    ],
)
def test_columns_that_are_not_the_model_s_are_told(shops: Trained, kwargs: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        ask(shops, **kwargs)


def test_a_series_that_is_too_short_is_told(tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    path.write_text("sales,visitors\n" + "1,2\n" * 5)
    with pytest.raises(DataError, match="series 1 has 5 rows; the model needs the last 6"):
        last_windows([path], INFO)
    with pytest.raises(DataError, match="expected CSV files"):
        last_windows([tmp_path / "few.png"], INFO)


def test_gaps_are_filled_in_as_in_training(tmp_path: Path) -> None:
    path = tmp_path / "gap.csv"
    path.write_text("sales,visitors\n" + "".join(f"{row if row != 7 else ''},1\n" for row in range(9)))
    with pytest.raises(DataError, match="column sales holds ''"):
        last_windows([path], INFO)
    found = last_windows([path], INFO, missing="forward")
    assert found.inputs[0, 0].tolist() == [3, 4, 5, 6, 6, 8]
    assert found.names == [str(path)]


def test_which_models_go_on_with_series(shops: Trained, trained: Trained) -> None:
    one, other = (open_subject(str(t.result.folder)) for t in (shops, trained))
    assert goes_on(one) and not goes_on(other)
    assert require_answers(other) == other.info.classes
    with pytest.raises(ConfigError, match=r"model: is of task forecasting, .*nnray evaluate"):
        require_answers(one)
