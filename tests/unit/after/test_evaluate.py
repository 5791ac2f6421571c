"""Measuring a trained model: by its own splits, and on data that somebody gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import nnray
from nnray.data.splits import Examples
from nnray.errors import ConfigError, DataError
from nnray.runners.evaluation import Evaluated
from nnray.runners.evaluation.card_text import _plain
from nnray.runners.evaluation.given import labels_by_name
from nnray.runners.subject import Subject, open_subject
from nnray.tracking.recorded import newest
from tests.unit.after.conftest import Trained


@pytest.fixture(scope="module")
def evaluated(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    out = tmp_path_factory.mktemp("evaluated")
    return nnray.evaluate(trained.result, temperature=True, bootstrap=200, wrong=7, out=out)


def subject_of(trained: Trained) -> Subject:
    return open_subject(trained.result.model_uri, tracking=trained.tracking)


def split_of(trained: Trained) -> Examples:
    found = subject_of(trained).examples("test")
    assert isinstance(found, Examples)
    return found


def report(evaluated: Evaluated) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(evaluated.folder) / "report.json").read_text())
    return found


def test_the_figures_are_those_of_training(trained: Trained, evaluated: Evaluated) -> None:
    metrics = trained.result.metrics
    assert evaluated.metrics["accuracy"] == pytest.approx(metrics["test_accuracy"], abs=1e-9)
    assert evaluated.metrics["f1_macro"] == pytest.approx(metrics["test_f1_macro"], abs=1e-6)
    assert evaluated.metrics["log_loss_before"] == pytest.approx(metrics["test_loss"], abs=1e-6)
    assert evaluated.metrics["ece_before"] == pytest.approx(metrics["test_ece"], abs=1e-6)
    low, high = evaluated.intervals["accuracy"]
    assert low < evaluated.metrics["accuracy"] < high


def test_the_temperature_is_fitted_on_the_validation_split(trained: Trained, evaluated: Evaluated) -> None:
    found = report(evaluated)["temperature"]
    val = subject_of(trained).examples("val")
    assert found["num_examples"] == len(val)
    assert evaluated.metrics["log_loss"] < evaluated.metrics["log_loss_before"]


def test_findings_are_in_the_run_that_made_the_model(trained: Trained, evaluated: Evaluated) -> None:
    names = ["evaluate.test.accuracy", "evaluate.test.accuracy_low", "evaluate.test.temperature"]
    recorded = newest(trained.tracking, trained.result.run_id, names=names)
    assert recorded["evaluate.test.accuracy"][1] == evaluated.metrics["accuracy"]
    assert recorded["evaluate.test.accuracy_low"][1] == evaluated.intervals["accuracy"][0]
    assert recorded.keys() == set(names)


def test_the_report_holds_what_was_measured(evaluated: Evaluated) -> None:
    found = report(evaluated)
    confusion = np.array(found["confusion"])
    assert confusion.sum() == found["num_examples"] == evaluated.examples
    assert np.trace(confusion) / confusion.sum() == pytest.approx(evaluated.metrics["accuracy"])
    assert [row["support"] for row in found["by_class"]] == confusion.sum(1).tolist()
    assert 0 < len(found["wrong"]) <= 7
    assert all(example["target"] != example["predicted"] for example in found["wrong"])


def test_the_wrong_examples_are_wrong(trained: Trained, evaluated: Evaluated) -> None:
    examples, module = split_of(trained), subject_of(trained).module
    for example in report(evaluated)["wrong"]:
        image = examples.inputs[example["index"]][None]
        scaled = image / 255 if image.dtype == torch.uint8 else image
        assert int(module(scaled.float()).argmax()) == example["predicted"]
        assert int(examples.targets[example["index"]]) == example["target"]


def test_all_files_are_there_and_the_page_needs_nothing_else(evaluated: Evaluated) -> None:
    names = {Path(file).name for file in evaluated.files}
    pictures = {"confusion.png", "roc.png", "precision_recall.png", "reliability.png", "mistakes.png"}
    assert names == pictures | {"report.json", "card.md", "card.html"}
    page = (Path(evaluated.folder) / "card.html").read_text()
    assert page.count("data:image/png") == len(pictures)
    assert "http://" not in page and "https://" not in page


def test_the_card_says_the_facts_and_limits(trained: Trained, evaluated: Evaluated) -> None:
    card = (Path(evaluated.folder) / "card.md").read_text()
    for fact in (
        trained.result.model_sha256,
        f"{evaluated.metrics['accuracy']:.4f}",
        "One training with the seed 0",
        "fitted on",
        "figures by group are not known",
        "nnray predict",
    ):
        assert fact in card
    assert "None" not in card


def test_another_split_says_what_it_is_worth(trained: Trained, tmp_path: Path) -> None:
    found = nnray.evaluate(trained.result, split="train", bootstrap=0, out=tmp_path)
    assert found.split == "train" and not found.intervals
    card = (tmp_path / "card.md").read_text()
    assert "has learnt from the examples" in card and "No intervals were computed" in card


def write_folder(folder: Path, examples: Examples, names: dict[int, str]) -> int:
    """Some test images as files, in folders by name."""
    count = 0
    for index, (image, label) in enumerate(zip(examples.inputs[:60], examples.targets[:60], strict=True)):
        if int(label) in names:
            place = folder / names[int(label)]
            place.mkdir(parents=True, exist_ok=True)
            pixels = image[0] if image.dtype == torch.uint8 else (image[0] * 255).round().to(torch.uint8)
            Image.fromarray(pixels.numpy()).save(place / f"{index}.png")
            count += 1
    return count


def test_given_images_are_classes_by_name(trained: Trained, tmp_path: Path) -> None:
    """Folders 3, 5 and 8 are labels 0, 1 and 2 of the data, and 3, 5 and 8 of the model."""
    count = write_folder(tmp_path / "given", split_of(trained), {3: "3", 5: "5", 8: "8"})
    found = nnray.evaluate(trained.result, data=tmp_path / "given", bootstrap=0, out=tmp_path / "out")
    assert found.examples == count
    assert found.metrics["accuracy"] > 0.7
    support = [row["support"] for row in report(found)["by_class"]]
    assert sum(support) == support[3] + support[5] + support[8] == count
    assert "No examples were measured of 0, 1, 2, 4, 6, 7, 9" in (tmp_path / "out" / "card.md").read_text()


def test_classes_that_the_model_does_not_know_are_refused(trained: Trained, tmp_path: Path) -> None:
    write_folder(tmp_path / "given", split_of(trained), {3: "three", 5: "5"})
    with pytest.raises(DataError, match=r"doesn't know the classes 'three'; it knows '0', '1'"):
        nnray.evaluate(trained.result, data=tmp_path / "given")


def test_arrays_of_another_shape_are_refused(trained: Trained, tmp_path: Path) -> None:
    np.savez(tmp_path / "wide.npz", x=np.zeros((4, 1, 8, 9), np.uint8), y=np.array([0, 1, 0, 1]))
    with pytest.raises(DataError, match=r"shape \(1, 8, 9\); the model takes \(1, 8, 8\)"):
        nnray.evaluate(trained.result, data=tmp_path / "wide.npz")


def test_given_arrays_give_the_figures_of_the_split(
    trained: Trained, evaluated: Evaluated, tmp_path: Path
) -> None:
    examples = split_of(trained)
    np.savez(tmp_path / "same.npz", x=examples.inputs.numpy(), y=examples.targets.numpy())
    found = nnray.evaluate(trained.result, data=tmp_path / "same.npz", bootstrap=0, out=tmp_path / "out")
    assert found.metrics["accuracy"] == evaluated.metrics["accuracy"]
    assert found.metrics["log_loss"] == pytest.approx(evaluated.metrics["log_loss_before"], abs=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": True, "split": "val"}, "can't be judged there"),
        ({"threshold_by": "f1"}, "for two classes; the model has 10"),
        ({"bootstrap": -1}, "bootstrap: must be 0 or more"),
        ({"split": "tests"}, "did you mean 'test'"),
    ],
)
def test_what_makes_no_sense_is_refused(trained: Trained, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        nnray.evaluate(trained.result, **options)


def test_data_that_is_not_there_is_named(trained: Trained) -> None:
    with pytest.raises(DataError, match="nowhere: there is no such file or folder"):
        nnray.evaluate(trained.result, data="nowhere")


def test_labels_go_by_name() -> None:
    assert labels_by_name(("b", "a"), ("a", "b", "c"), where="here").tolist() == [1, 0]


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "a|b", "`x`", "[a](http://b)"])
def test_markdown_shows_text_as_it_is(text: str) -> None:
    shown = _plain(text)
    assert all(f"\\{mark}" in shown for mark in set(text) & set("<>|`[]"))
