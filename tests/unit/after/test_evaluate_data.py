"""What models are measured on: tables and experiment files, streamed data, and splits that are missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

import nnray
from nnray.errors import DataError
from nnray.runners.evaluation import Request, evaluate_model
from nnray.runners.results import RunResult
from nnray.runners.subject import open_subject
from tests.unit.cli_calls import caller

NAMES = ("ill", "so-so", "well")


def table(path: Path, *, seed: int, count: int, names: tuple[str, ...] = NAMES) -> Path:
    """Two features that tell three classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(names), size=count)
    values = rng.normal(size=(count, 2)) + 2 * np.eye(3, 2)[[NAMES.index(names[label]) for label in labels]]
    columns = {"a": values[:, 0], "b": values[:, 1], "state": [names[label] for label in labels]}
    pq.write_table(pa.table(columns), path)
    return path


def train(folder: Path, data: str) -> RunResult:
    (folder / "e.yaml").write_text(
        f"name: three\ndata: {data}\nmodel: {{name: mlp, hidden: [8]}}\n"
        "training: {epochs: 4, batch_size: 32}\noptimizer: {name: adam, lr: 0.01}\n"
        f"tracking: {{uri: 'sqlite:///{folder}/mlflow.db', dir: {folder}/runs}}\n"
    )
    return nnray.train(folder / "e.yaml", quiet=True)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    folder = tmp_path_factory.mktemp("three")
    table(folder / "t.parquet", seed=0, count=500)
    return train(folder, f"{{name: parquet, root: {folder}/t.parquet, label: state}}")


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def test_a_parquet_file_is_read_as_the_model_s_own(three: RunResult, tmp_path: Path) -> None:
    given = table(tmp_path / "more.parquet", seed=1, count=120, names=("ill", "well"))
    found = nnray.evaluate(three, data=given, bootstrap=0, out=tmp_path / "out")
    assert (found.examples, found.split) == (120, "all")
    assert found.metrics["accuracy"] > 0.6
    support = [row["support"] for row in report(tmp_path / "out")["by_class"]]
    assert support[1] == 0 and sum(support) == 120


def test_a_parquet_file_without_the_label_column_is_refused(three: RunResult, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1.0, 2.0], "b": [0.0, 1.0]}), tmp_path / "bare.parquet")
    with pytest.raises(DataError, match="state"):
        nnray.evaluate(three, data=tmp_path / "bare.parquet")


def test_the_data_section_of_an_experiment_file_is_taken(three: RunResult, tmp_path: Path) -> None:
    given = table(tmp_path / "more.parquet", seed=2, count=200)
    section = f"{{name: parquet, root: {given}, label: state, test: 0.4}}"
    (tmp_path / "other.yaml").write_text(
        f"name: other\ndata: {section}\nmodel: {{name: mlp, hidden: [99]}}\n"
    )
    found = nnray.evaluate(three, data=tmp_path / "other.yaml", bootstrap=0, out=tmp_path / "out")
    assert (found.examples, found.split) == (80, "test")
    part = nnray.evaluate(three, data=tmp_path / "other.yaml", split="train", bootstrap=0, out=tmp_path / "o")
    assert part.split == "train" and 80 < part.examples <= 120


def test_streamed_data_have_the_figures_of_data_in_memory(tmp_path: Path) -> None:
    table(tmp_path / "t.parquet", seed=0, count=400)
    streamed = train(tmp_path, f"{{name: parquet, root: {tmp_path}/t.parquet, label: state, stream: true}}")
    found = nnray.evaluate(streamed, bootstrap=20, wrong=3, out=tmp_path / "out")
    assert found.metrics["accuracy"] == pytest.approx(streamed.metrics["test_accuracy"])
    assert found.metrics["log_loss"] == pytest.approx(streamed.metrics["test_loss"], abs=1e-6)
    wrong = report(tmp_path / "out")["wrong"]
    rows = (tmp_path / "out" / "mistakes.txt").read_text().splitlines()[1:]
    assert [int(row.split()[0]) for row in rows] == [example["index"] for example in wrong]
    whole = nnray.evaluate(streamed, data=tmp_path / "t.parquet", bootstrap=0, out=tmp_path / "whole")
    assert whole.examples == 400


def test_a_test_split_that_is_not_there_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table(tmp_path / "t.parquet", seed=0, count=200)
    result = train(tmp_path, f"{{name: parquet, root: {tmp_path}/t.parquet, label: state, test: 0}}")
    for asked in ((), ("--split", "test")):
        code, _, said = caller(monkeypatch, capsys)("evaluate", str(result.folder), *asked)
        assert code == 2 and "has no test split; it has train and val: choose with --split" in said
    found = nnray.evaluate(result, split="val", bootstrap=0, out=tmp_path / "out")
    assert found.split == "val"
    assert "chosen" in (tmp_path / "out" / "card.md").read_text()


def test_without_a_validation_split_nothing_is_fitted_on_the_test_split(tmp_path: Path) -> None:
    """Only a federated run does without."""
    (tmp_path / "e.yaml").write_text(
        "name: shared\ndata: {name: digits, limit: 300, validation: 0}\nmodel: {name: mlp, hidden: [8]}\n"
        "federated: {workers: 0, clients: 3, rounds: 1}\n"
        f"tracking: {{uri: 'sqlite:///{tmp_path}/mlflow.db', dir: {tmp_path}/runs}}\n"
    )
    result = nnray.federate(tmp_path / "e.yaml", quiet=True)
    with pytest.raises(DataError, match="has no val split; it has train and test"):
        nnray.evaluate(result, split="val")
    with pytest.raises(DataError, match="no validation split to fit a temperature or threshold on"):
        nnray.evaluate(result, temperature=True)
    assert nnray.evaluate(result, bootstrap=0, out=tmp_path / "out").split == "test"


def test_answers_that_are_no_numbers_are_no_figures(three: RunResult, tmp_path: Path) -> None:
    subject = open_subject(three.model_uri, tracking=three.tracking_uri)
    last = [layer for layer in subject.module.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        last.bias[1] = torch.nan
    with pytest.raises(
        DataError, match=r"gives NaN or infinity for (\d+) of \1 examples, first for example 0"
    ):
        evaluate_model(subject, Request(out=tmp_path), root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_ensemble_is_measured_as_one_model(three: RunResult, tmp_path: Path) -> None:
    folder = three.folder.parent.parent
    second = nnray.train(folder / "e.yaml", ["seed=1", "training.epochs=2", "data.split_seed=0"], quiet=True)
    made = nnray.ensemble([three, second], tracking=three.tracking_uri, root=tmp_path / "runs")
    found = nnray.evaluate(made.model_uri, tracking=made.tracking_uri, bootstrap=0, out=tmp_path / "out")
    module = open_subject(made.model_uri, tracking=made.tracking_uri)
    assert found.metrics["accuracy"] == pytest.approx(made.metrics["test_accuracy"])
    assert module.sha256 in (tmp_path / "out" / "card.md").read_text()
