"""Two classes in a table: thresholds, rows as text, and labels of other files by name."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

import nnray
from nnray.errors import ConfigError, DataError
from nnray.runners.results import RunResult


def write_table(path: Path, *, seed: int, count: int, names: tuple[str, str] = ("ill", "well")) -> Path:
    """Two features; the first class is one in five."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) > 0.2).astype(int)
    rows = rng.normal(size=(count, 2)) + 0.8 * labels[:, None]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "state"])
        writer.writerows([*map(str, row), names[label]] for row, label in zip(rows, labels, strict=True))
    return path


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    folder = tmp_path_factory.mktemp("two")
    table = write_table(folder / "two.csv", seed=0, count=600)
    (folder / "two.yaml").write_text(
        f"name: two\ndata: {{name: csv, root: {table}, label: state}}\nmodel: {{name: mlp, hidden: [8]}}\n"
        "training: {epochs: 20, batch_size: 32}\noptimizer: {name: adam, lr: 0.01}\n"
        f"tracking: {{uri: 'sqlite:///{folder}/mlflow.db', dir: {folder}/runs}}\n"
    )
    return nnray.train(folder / "two.yaml", quiet=True)


def test_a_threshold_is_chosen_on_the_validation_split(two: RunResult, tmp_path: Path) -> None:
    options = {"bootstrap": 50, "out": tmp_path}
    plain = nnray.evaluate(two, bootstrap=0, out=tmp_path / "plain")
    found = nnray.evaluate(two, threshold_by="balanced_accuracy", **options)  # type: ignore[arg-type]
    report = json.loads((tmp_path / "report.json").read_text())
    assert 0 < report["threshold"] < 1
    assert found.metrics["balanced_accuracy"] > plain.metrics["balanced_accuracy"] + 0.05
    assert found.metrics["auroc"] == plain.metrics["auroc"]
    assert "well is predicted from a probability of" in (tmp_path / "card.md").read_text()


def test_mistakes_of_a_table_are_rows_of_text(two: RunResult, tmp_path: Path) -> None:
    nnray.evaluate(two, bootstrap=0, wrong=4, out=tmp_path)
    lines = (tmp_path / "mistakes.txt").read_text().splitlines()
    assert lines[0].split() == ["no.", "class", "predicted", "sure", "inputs"]
    assert len(lines) == 5
    assert not (tmp_path / "mistakes.png").exists()


def test_another_table_is_read_as_the_model_s_own(two: RunResult, tmp_path: Path) -> None:
    table = write_table(tmp_path / "more.csv", seed=1, count=90)
    found = nnray.evaluate(two, data=table, bootstrap=0, out=tmp_path / "out")
    assert (found.examples, found.split) == (90, "all")
    assert found.metrics["auroc"] > 0.75


def test_a_table_of_other_classes_is_refused(two: RunResult, tmp_path: Path) -> None:
    table = write_table(tmp_path / "more.csv", seed=1, count=90, names=("sick", "well"))
    with pytest.raises(DataError, match="doesn't know the classes 'sick'; it knows 'ill', 'well'"):
        nnray.evaluate(two, data=table)


@pytest.mark.parametrize("temperature", [False, True])
def test_predict_parts_as_what_was_evaluated(two: RunResult, tmp_path: Path, temperature: bool) -> None:
    """The threshold is told for the probabilities that predict gives, also where others were calibrated."""
    table = write_table(tmp_path / "more.csv", seed=1, count=90)
    asked = {"threshold_by": "balanced_accuracy", "temperature": temperature, "bootstrap": 0}
    found = nnray.evaluate(two, data=table, out=tmp_path / "out", **asked)  # type: ignore[arg-type]
    assert found.threshold is not None and repr(found.threshold) in found.summary()
    states = [line["state"] for line in csv.DictReader(io.StringIO(table.read_text()))]
    hits = {}
    for threshold in (found.threshold, None):
        rows = nnray.predict(two, table, threshold=threshold).answers
        hits[threshold] = sum(row["class"] == state for row, state in zip(rows, states, strict=True)) / 90
    assert hits[found.threshold] == pytest.approx(found.metrics["accuracy"])
    assert hits[None] != hits[found.threshold]


def test_a_threshold_takes_all_or_none(two: RunResult, tmp_path: Path) -> None:
    table = write_table(tmp_path / "more.csv", seed=1, count=20)
    all_, none = (nnray.predict(two, table, threshold=t) for t in (0.0, 1.0))
    assert (all_.by_class, none.by_class) == ({"well": 20}, {"ill": 20})
    rows = zip(all_.answers, none.answers, strict=True)
    assert all(one["confidence"] + other["confidence"] == pytest.approx(1) for one, other in rows)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_is_a_probability(two: RunResult, tmp_path: Path, threshold: float) -> None:
    table = write_table(tmp_path / "more.csv", seed=1, count=20)
    with pytest.raises(ConfigError, match="threshold: must be a probability from 0 to 1"):
        nnray.predict(two, table, threshold=threshold)
