"""Tables after training: rows of somebody's own, by the names of columns, encoded as those learnt from."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import nnray
from nnray.data.inputs import read_inputs
from nnray.data.table_columns import encoder_from_json
from nnray.errors import DataError
from nnray.runners.subject import Subject, open_subject
from tests.unit.after.conftest import Trained
from tests.unit.data.table_files import write_customers

Row = dict[str, str]
ASKED: list[Row] = [
    {"shop": "10", "city": "Lyon", "income": "40.5", "age": "30", "buys": "yes"},
    {"shop": "20", "city": "Atlantis", "income": "20", "age": "", "buys": "no"},
    {"shop": "30", "city": "", "income": "n.k.", "age": "55", "buys": "yes"},
]


@pytest.fixture(scope="module")
def trained_table(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A network on a CSV file of customers, whose shops are categories."""
    folder = tmp_path_factory.mktemp("customers")
    write_customers(folder / "data/customers.csv", count=120)
    data = {
        "name": "table", "root": str(folder / "data"), "label": "buys", "drop": ["id", "spent"],
        "missing": ["n.k."], "categories": ["shop"], "indicators": True,
    }  # fmt: skip
    experiment = {"name": "customers", "data": data, "model": {"name": "tabular_mlp", "hidden": [8]}}
    (folder / "customers.yaml").write_text(json.dumps(experiment), encoding="utf-8")
    places = [f"tracking.uri=sqlite:///{folder}/mlflow.db", f"tracking.dir={folder}/runs"]
    overrides = [*places, "training.epochs=3", "optimizer.lr=2e-2"]
    return Trained(nnray.train(folder / "customers.yaml", overrides, quiet=True), folder)


@pytest.fixture(scope="module")
def subject(trained_table: Trained) -> Subject:
    return open_subject(
        trained_table.result.model_uri, root=trained_table.root, tracking=trained_table.tracking
    )


@pytest.fixture(scope="module")
def expected(subject: Subject) -> torch.Tensor:
    encoder = encoder_from_json(subject.info.encoder)
    cells = [[row[name] for name in encoder.names] for row in ASKED]
    with torch.no_grad():
        found: torch.Tensor = subject.module(encoder.encode(cells, where="t")).double().softmax(1)
    return found


def write(path: Path, rows: list[Row], *, delimiter: str = ",") -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("form", [",", ";", "\t", "parquet"])
def test_rows_are_taken_by_the_names_of_columns(
    subject: Subject, expected: torch.Tensor, tmp_path: Path, form: str
) -> None:
    """In whatever order columns stand, with others beside them; unseen and missing cells as in training."""
    path = tmp_path / ("a.parquet" if form == "parquet" else "a.csv")
    if form == "parquet":
        pq.write_table(pa.table({name: [row[name] for row in ASKED] for name in ASKED[0]}), path)
    else:
        write(path, ASKED, delimiter=form)
    block = read_inputs([path], subject.info).collect()
    assert block.names == [f"{path}:{row}" for row in range(3)]
    with torch.no_grad():
        torch.testing.assert_close(subject.module(block.inputs).double().softmax(1), expected)


def test_predict_says_the_class_of_each_row(
    trained_table: Trained, expected: torch.Tensor, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.csv", ASKED)
    found = nnray.predict(trained_table.result, path, probabilities=True)
    assert [row["class"] for row in found.answers] == [["no", "yes"][at] for at in expected.argmax(1)]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"age": "old"}, r"a\.csv:0: column age has 'old', which is no number"),
        ({"income": "1e999"}, r"a\.csv:0: column income has '1e999', which is no number"),
    ],
)
def test_a_cell_that_is_no_number_is_told(
    subject: Subject, tmp_path: Path, change: Row, problem: str
) -> None:
    path = write(tmp_path / "a.csv", [{**ASKED[0], **change}, ASKED[1]])
    with pytest.raises(DataError, match=problem):
        read_inputs([path], subject.info).collect()
    passed = read_inputs([path], subject.info, skip_unreadable=True).collect()
    assert passed.names == [f"{path}:1"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("age,income,city\n1,2,Graz\n", "has not one column shop each; it has age, income, city"),
        ("age,income,city,shop\n1,2,Graz\n", "has 3 cells; expected 4"),
        ("age,income,city,shop\n", "has no rows"),
        ("age,age,income,city,shop\n1,1,2,Graz,10\n", "has not one column age each"),
    ],
)
def test_tables_of_another_form_are_told(subject: Subject, tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=problem):
        read_inputs([tmp_path / "a.csv"], subject.info).collect()


def test_a_missing_quantity_is_told_where_training_had_none(subject: Subject, tmp_path: Path) -> None:
    info = replace(subject.info, missing=False)
    with pytest.raises(DataError, match=r"a\.csv:1: column age is empty; fill it in"):
        read_inputs([write(tmp_path / "a.csv", ASKED)], info).collect()


def test_a_table_is_measured_with_the_codes_of_the_model(
    trained_table: Trained, expected: torch.Tensor, tmp_path: Path
) -> None:
    """A file that lacks categories, and has them in another order, must not be given codes of its own."""
    found = nnray.evaluate(trained_table.result, data=write(tmp_path / "own.csv", ASKED), bootstrap=0)
    hits = (expected.argmax(1) == torch.tensor([1, 0, 1])).double().mean()
    assert found.examples == 3
    assert found.metrics["accuracy"] == pytest.approx(float(hits))
    losses = -expected.log()[torch.arange(3), torch.tensor([1, 0, 1])]
    assert found.metrics["log_loss"] == pytest.approx(float(losses.mean()), rel=1e-5)


def test_data_with_codes_of_their_own_are_refused(trained_table: Trained, tmp_path: Path) -> None:
    write_customers(tmp_path / "other/a.csv", seed=9)
    text = (trained_table.folder / "customers.yaml").read_text()
    other: dict[str, Any] = json.loads(text)
    other["data"] |= {"root": str(tmp_path / "other"), "missing": ["n.k.", "Graz"]}
    (tmp_path / "other.yaml").write_text(json.dumps(other))
    with pytest.raises(DataError, match="other codes than the model's"):
        nnray.evaluate(trained_table.result, data=tmp_path / "other.yaml", bootstrap=0)


def test_numbers_are_learnt_and_measured(trained_table: Trained, tmp_path: Path) -> None:
    """With the same file, and what is spent as the answer; a tenth of the variance is told at least."""
    changes = ["data.label=spent", "data.drop=[id, buys]", "task.name=regression", "training.metric=val_r2"]
    places = [f"tracking.uri=sqlite:///{tmp_path}/mlflow.db", f"tracking.dir={tmp_path}/runs"]
    few = ["training.epochs=12", "optimizer.lr=3e-2", "training.batch_size=16"]
    found = nnray.train(trained_table.folder / "customers.yaml", [*changes, *places, *few], quiet=True)
    assert found.metrics["test_r2"] > 0.1
    assert found.metrics["test_mse"] == pytest.approx(found.metrics["test_rmse"] ** 2)
    measured = nnray.evaluate(found, bootstrap=0)
    assert measured.metrics["r2"] == pytest.approx(found.metrics["test_r2"], rel=1e-5)
