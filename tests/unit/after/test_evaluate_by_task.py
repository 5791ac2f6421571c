"""Models that don't tell one class are measured by their task, as in training, and shown by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import nnray
from nnray.errors import ConfigError, DataError
from nnray.runners.subject import open_subject
from tests.unit.after.conftest import Trained, train_below
from tests.unit.data.series_files import write_classic

FORECAST = """
name: {name}
task: {{name: forecasting, season: 6}}
data: {{name: airline, root: {folder}, past: 12, horizon: {horizon}, val: 20, test: 20}}
model: {{name: dlinear, kernel: 3}}
training: {{epochs: 1, batch_size: 16}}
"""
RECONSTRUCT = """
name: rebuilt
task: {name: reconstruction}
data: {name: digits, limit: 100}
model: {name: autoencoder}
training: {epochs: 1}
"""


def trained_by(text: str, folder: Path, name: str) -> Trained:
    file = folder / f"{name}.yaml"
    file.write_text(text)
    return train_below(folder, file)


@pytest.fixture(scope="module")
def forecast(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("forecast")
    write_classic(folder / "series", "airline_passengers.csv")
    return trained_by(FORECAST.format(name="ahead", folder=folder, horizon=3), folder, "ahead")


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained_by(RECONSTRUCT, tmp_path_factory.mktemp("rebuilt"), "rebuilt")


def test_its_figures_are_those_of_training(forecast: Trained) -> None:
    found = nnray.evaluate(forecast.result, root=forecast.root)
    trained = {key: value for key, value in forecast.result.metrics.items() if key.startswith("test_")}
    assert {f"test_{name}": value for name, value in found.metrics.items()} == pytest.approx(trained)
    assert (found.examples, found.split, found.intervals) == (18, "test", {})


def test_it_leaves_a_card_a_report_and_what_the_task_shows(forecast: Trained) -> None:
    found = nnray.evaluate(forecast.result, root=forecast.root)
    names = {Path(path).name for path in found.files}
    assert {"card.html", "card.md", "report.json", "forecast_1.png", "error_by_step.png"} <= names
    assert all(Path(path).stat().st_size for path in found.files)
    report = json.loads((Path(found.folder) / "report.json").read_text())
    assert report["metrics"] == found.metrics
    assert report["num_examples"] == 18
    card = (Path(found.folder) / "card.md").read_text()
    assert "naive mae" in card and "forecast_1.png" in card
    assert "classes" not in card


def test_all_its_figures_are_told(forecast: Trained) -> None:
    told = nnray.evaluate(forecast.result, root=forecast.root).summary()
    assert "mase" in told and "naive_mse" in told
    assert "card.html" in told


@pytest.mark.parametrize("part", ["train", "val"])
def test_other_splits_can_be_measured(forecast: Trained, part: str) -> None:
    found = nnray.evaluate(forecast.result, split=part, root=forecast.root)  # type: ignore[arg-type]
    assert found.split == part
    if part == "val":
        assert found.metrics["loss"] == pytest.approx(forecast.result.metrics["val_loss"])


@pytest.mark.parametrize(
    "asked", [{"temperature": True}, {"threshold_by": "f1"}, {"bootstrap": 50}, {"wrong": 3}]
)
def test_what_is_of_classes_is_refused(forecast: Trained, asked: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(asked))}: is for models that tell one class"):
        nnray.evaluate(forecast.result, root=forecast.root, **asked)  # type: ignore[arg-type]


def test_the_data_of_another_experiment_are_measured_on_if_they_fit(forecast: Trained) -> None:
    other = forecast.folder / "other.yaml"
    other.write_text(FORECAST.format(name="other", folder=forecast.folder, horizon=3))
    found = nnray.evaluate(forecast.result, data=other, root=forecast.root)
    assert found.metrics["mase"] == pytest.approx(forecast.result.metrics["test_mase"])
    other.write_text(FORECAST.format(name="other", folder=forecast.folder, horizon=4))
    with pytest.raises(
        DataError, match=r"numbers of shape \[1, 4\]; the model gives numbers of shape \[1, 3\]"
    ):
        nnray.evaluate(forecast.result, data=other, root=forecast.root)


def test_a_task_that_rebuilds_images_of_classes_is_measured_by_its_errors(rebuilt: Trained) -> None:
    found = nnray.evaluate(rebuilt.result, root=rebuilt.root)
    assert found.metrics["mse"] == pytest.approx(rebuilt.result.metrics["test_mse"])
    assert "accuracy" not in found.metrics


def test_which_models_tell_classes(forecast: Trained, rebuilt: Trained, trained: Trained) -> None:
    told = [open_subject(str(t.result.folder)).tells_classes for t in (forecast, rebuilt, trained)]
    assert told == [False, False, True]
