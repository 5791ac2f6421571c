"""What a person is shown of a model's metrics, for any task."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnray.runners.display import summary
from nnray.runners.headline import headline, of_split, scores
from nnray.runners.results import RunResult, figures, table_of
from nnray.training.loop import EpochReport

FORECAST = {
    "train_loss": 1.0,
    "val_loss": 2.0,
    "val_mase": 0.7,
    "test_loss": 3.0,
    "test_mase": 0.8,
    "lr": 0.1,
}


def test_a_task_of_any_metrics_has_those_of_the_test_split_shown() -> None:
    assert headline(FORECAST) == {"test_loss": 3.0, "test_mase": 0.8, "val_loss": 2.0, "val_mase": 0.7}


def test_all_of_validation_is_shown_where_nothing_was_tested() -> None:
    untested = {"val_loss": 1.0, "val_mse": 1.0, "val_mae": 0.5, "val_rmse": 1.0, "train_loss": 1.0}
    assert list(headline(untested)) == ["val_loss", "val_mse", "val_mae", "val_rmse"]
    tested = headline(untested | {"test_loss": 1.0})
    assert list(tested) == ["test_loss", "val_loss", "val_mse"], "two figures of it are enough beside those"


def test_nothing_is_shown_of_nothing() -> None:
    assert headline({"train_loss": 1.0, "lr": 0.1}) == {} == scores({}, "val")


def test_accuracy_and_loss_come_first() -> None:
    metrics = {"test_loss": 1.0, "test_f1_macro": 0.5, "test_accuracy": 0.6}
    assert list(of_split(metrics, "test")) == ["test_accuracy", "test_loss", "test_f1_macro"]


@pytest.mark.parametrize(("classes", "shown"), [(2, 2), (3, 3), (4, 0), (10, 0)])
def test_each_of_a_few_classes_is_shown_and_none_of_many(classes: int, shown: int) -> None:
    by_class = {f"test_f1_class_{label}": 0.5 for label in range(classes)}
    found = of_split({"test_loss": 1.0, **by_class, "test_ap50_class_a_class_b": 0.1}, "test")
    assert sum(name.startswith("test_f1_class_") for name in found) == shown
    assert "test_ap50_class_a_class_b" in found


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"val_loss": 2.0, "val_accuracy": 0.5, "val_ece": 0.1}, ["val_accuracy", "val_loss"]),
        ({"val_loss": 2.0, "val_rmse": 0.5, "val_mae": 0.1}, ["val_rmse", "val_loss"]),
        ({"val_loss": 2.0}, ["val_loss"]),
        ({"val_hr": 0.2}, ["val_hr"]),
    ],
)
def test_two_figures_tell_most(metrics: dict[str, float], expected: list[str]) -> None:
    assert list(scores(metrics | {"test_loss": 9.0, "train_accuracy": 9.0}, "val")) == expected


def test_an_epoch_s_line_has_the_metric_of_its_task() -> None:
    metrics = FORECAST | {"samples_per_s": 1234.0, "epoch_seconds": 3.0}
    line = summary(EpochReport(2, 20, metrics, is_best=True))
    assert line == "train_loss 1.0000  val_loss 2.0000  val_mase 0.7000  1,234 samples/s  *"
    known = metrics | {"val_accuracy": 0.5}
    assert "val_loss 2.0000  val_accuracy 0.5000  1,234" in summary(EpochReport(2, 20, known, is_best=False))


def test_columns_are_aligned_and_empty_rows_left_out() -> None:
    rows = [*figures({"test_balanced_accuracy": 0.5, "val_loss": 1.0}), ("run", ""), ("epoch", "1 of 2")]
    assert table_of(rows).splitlines() == [
        "test_balanced_accuracy 0.5000",
        "val_loss               1.0000",
        "epoch                  1 of 2",
    ]


def test_the_end_of_training_prints_what_its_task_measured(tmp_path: Path) -> None:
    result = RunResult(
        run_id="a" * 32,
        verb="train",
        seconds=1.0,
        metrics=FORECAST,
        model_uri="",
        model_sha256="",
        tracking_uri="",
        folder=tmp_path,
        epochs=3,
        epoch=2,
    )
    lines = result.summary().splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["test_loss", "test_mase", "val_loss", "val_mase"]
    assert lines[4].split(maxsplit=1) == ["epoch", "2 of 3"]
    assert max(map(len, lines)) <= 60
