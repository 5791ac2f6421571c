"""Tables after training: rows of somebody's own, by the names of columns, encoded as those learnt from."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import nnray
from nnray.data.inputs import read_inputs
from nnray.data.table_columns import encoder_from_json
from nnray.errors import ConfigError, DataError
from nnray.runners.prediction.answers import bounded
from nnray.runners.serving.serve import application
from nnray.runners.subject import Subject, open_subject
from nnray.tasks.rating import Rating
from nnray.tasks.regression import Regression
from tests.unit.after.conftest import Trained, train_below
from tests.unit.data.table_files import write_customers
from tests.unit.runners.serving.asgi import ask

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
    return train_below(folder, folder / "customers.yaml", ["training.epochs=3", "optimizer.lr=2e-2"])


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


@pytest.fixture(scope="module")
def spending(trained_table: Trained, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """With the same file, and what is spent as the answer."""
    folder = tmp_path_factory.mktemp("spending")
    changes = ["data.label=spent", "data.drop=[id, buys]", "task.name=regression", "training.metric=val_r2"]
    few = ["training.epochs=12", "optimizer.lr=3e-2", "training.batch_size=16"]
    given = trained_table.folder / "customers.yaml"
    return train_below(folder, given, [*changes, *few])


def test_numbers_are_learnt_and_measured(spending: Trained) -> None:
    """A tenth of the variance is told at least."""
    found = spending.result
    assert found.metrics["test_r2"] > 0.1
    assert found.metrics["test_mse"] == pytest.approx(found.metrics["test_rmse"] ** 2)
    measured = nnray.evaluate(found, bootstrap=0)
    assert measured.metrics["r2"] == pytest.approx(found.metrics["test_r2"], rel=1e-5)


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_numbers_are_predicted(spending: Trained, tmp_path: Path, form: str) -> None:
    """As the module gives them, by the names of the rows."""
    path, out = write(tmp_path / "a.csv", ASKED), tmp_path / f"out.{form}"
    model = open_subject(str(spending.result.folder))
    with torch.no_grad():
        expected = model.module(read_inputs([path], model.info).collect().inputs).flatten().tolist()
    rows: list[dict[str, Any]] = nnray.predict(spending.result, path).answers
    assert rows == [
        {"name": f"{path}:{at}", "prediction": pytest.approx(value)} for at, value in enumerate(expected)
    ]
    assert nnray.predict(spending.result, path, out=out).summary().startswith("inputs   3\n")
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(out.read_text())))
    else:
        rows = json.loads(out.read_text()) if form == "json" else pq.read_table(out).to_pylist()
    assert [[*row] for row in rows] == [["name", "prediction"]] * 3
    assert [float(row["prediction"]) for row in rows] == pytest.approx(expected)


def test_what_is_of_classes_is_refused_for_numbers(spending: Trained, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ASKED)
    with pytest.raises(ConfigError, match=r"(?s)probabilities: are.*threshold: is for two"):
        nnray.predict(spending.result, path, probabilities=True, threshold=0.5)


def test_numbers_stay_within_the_bounds_of_the_task() -> None:
    outputs = np.array([[-1.0], [0.5], [7.0]])
    assert bounded(Rating(0.0, 5.0), outputs).tolist() == [[0.0], [0.5], [5.0]]
    assert bounded(Rating(), outputs).tolist() == outputs.tolist()
    assert bounded(Regression(), outputs).tolist() == outputs.tolist()


TYPED = [
    {"shop": 10, "city": "Lyon", "income": 40.5, "age": 30},
    {"shop": 20.0, "city": "Atlantis", "income": 20, "age": None},
    {"shop": "30", "city": "", "income": "n.k.", "age": 55.0},
]
"""What is asked as JSON has it; columns that are no inputs are left out."""
CSV_BODY = b" buys,city,age,shop,income\nyes,Lyon,30,10,40.5\nno,Atlantis,,20,20\n,,55,30,n.k.\n"


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": ASKED},
        {"dataframe_records": TYPED},
        {"dataframe_split": {"columns": [*TYPED[0]], "data": [[*row.values()] for row in TYPED]}},
        {"dataframe_split": {"columns": [*ASKED[0]], "data": [[*row.values()] for row in ASKED]}},
        CSV_BODY,
    ],
)
def test_cells_are_served_as_they_are_predicted(
    trained_table: Trained, subject: Subject, tmp_path: Path, body: Any
) -> None:
    """By name, whatever their types: the probabilities are those of the file with the same cells."""
    path = write(tmp_path / "a.csv", ASKED)
    rows = nnray.predict(trained_table.result, path, probabilities=True).answers
    headers = {"content-type": "text/csv" if isinstance(body, bytes) else "application/json"}
    status, answered = ask(application(subject), body, query="output=probabilities", headers=headers)
    assert status == 200
    for told, row in zip(answered["predictions"], rows, strict=True):
        assert told == pytest.approx([*row["probabilities"].values()], abs=1e-6)


def test_cells_stand_in_the_model_s_order_without_names(subject: Subject) -> None:
    names = encoder_from_json(subject.info.encoder).names
    data = [[row[name] for name in names] for row in ASKED]
    one = ask(application(subject), {"dataframe_split": {"data": data}})
    assert one == ask(application(subject), {"dataframe_records": ASKED})


def test_lists_of_examples_are_encoded_already(subject: Subject) -> None:
    encoder = encoder_from_json(subject.info.encoder)
    inputs = encoder.encode([[row[name] for name in encoder.names] for row in ASKED], where="t")
    values = [[None if math.isnan(value) else value for value in row] for row in inputs.tolist()]
    one = ask(application(subject), {"inputs": values})
    assert one == ask(application(subject), {"dataframe_records": ASKED})


RECORD = ASKED[0]


@pytest.mark.parametrize(
    ("records", "sentence"),
    [
        ([RECORD, {**RECORD, "age": "old"}], "example 1: column age has 'old', which is no number"),
        ([{**RECORD, "age": [30]}], "example 0: column age holds a list; expected a number, a text, true"),
        ([{**RECORD, "age": True}], "example 0: column age has 'True', which is no number"),
        ([{**RECORD, "age": 1e300}], "example 0: column age has '1e+300', which is no number"),
        ([{**RECORD, "age": float("inf")}], "example 0: column age has 'inf', which is no number"),
        ([{**RECORD, "age": 10**400}], "which is no number"),
        ([{k: v for k, v in RECORD.items() if k != "city"}], "there is no column 'city'; the model takes"),
        ([RECORD, {**RECORD, "more": 1}], "record 1 has other columns than record 0"),
        ([], "there is no example in the request"),
        ([[1, 2]], "dataframe_records has to be a list of objects"),
    ],
)
def test_bad_cells_are_refused_in_a_sentence(subject: Subject, records: Any, sentence: str) -> None:
    status, answered = ask(application(subject), {"dataframe_records": records})
    assert status == 400
    assert sentence in answered["error"]


@pytest.mark.parametrize(
    ("split", "sentence"),
    [
        ({"data": [[1, 2]]}, "example 0 is 2 values; expected a list of 4: "),
        ({"data": [3]}, "example 0 is a number; expected a list of 4: "),
        ({"columns": ["shop", "shop", "city", "income", "age"], "data": []}, "more than one column 'shop'"),
        ({"columns": ["shop"], "data": [[1]]}, "there is no column"),
    ],
)
def test_tables_of_another_form_are_refused(subject: Subject, split: Any, sentence: str) -> None:
    status, answered = ask(application(subject), {"dataframe_split": split})
    assert status == 400
    assert sentence in answered["error"]


def test_a_missing_quantity_is_refused_where_training_had_none(subject: Subject) -> None:
    strict = replace(subject, info=replace(subject.info, missing=False))
    status, answered = ask(application(strict), {"dataframe_records": TYPED})
    assert (status, answered["error"]) == (400, "example 1: column age is empty; fill it in")


def test_a_threshold_is_served(trained_table: Trained, subject: Subject, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ASKED)
    p = sorted(
        row["probabilities"]["yes"]
        for row in nnray.predict(trained_table.result, path, probabilities=True).answers
    )
    between = (p[0] + p[1]) / 2
    app = application(subject, threshold=between)
    status, answered = ask(app, {"dataframe_records": ASKED}, query="output=classes")
    rows = nnray.predict(trained_table.result, path, threshold=between).answers
    assert status == 200
    assert [row["class"] for row in answered["predictions"]] == [row["class"] for row in rows]
    assert sum(row["label"] for row in answered["predictions"]) == 2
    confidence = [row["confidence"] for row in answered["predictions"]]
    assert confidence == pytest.approx([row["confidence"] for row in rows], abs=1e-6)
    assert ask(app, b"", method="GET", path="/")[1]["threshold"] == between
    with pytest.raises(ConfigError, match=r"threshold: must be a probability from 0 to 1 \(got 2\)"):
        application(subject, threshold=2.0)


def test_numbers_are_served_as_they_are_predicted(spending: Trained, tmp_path: Path) -> None:
    app = application(open_subject(str(spending.result.folder)))
    status, answered = ask(app, {"dataframe_records": TYPED})
    rows = nnray.predict(spending.result, write(tmp_path / "a.csv", ASKED)).answers
    assert status == 200
    assert answered["predictions"] == pytest.approx([row["prediction"] for row in rows], rel=1e-6)
    status, answered = ask(app, {"dataframe_records": TYPED}, query="output=classes")
    assert (status, "the model tells numbers, not classes" in answered["error"]) == (400, True)
    with pytest.raises(ConfigError, match="threshold: is for two classes; the model tells none"):
        application(open_subject(str(spending.result.folder)), threshold=0.5)
