"""What a task shows: kept for each epoch and for the model, the same after a kill, and recorded."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nnray.assembly import assemble, load_data
from nnray.config import Experiment, parse
from nnray.errors import UserCodeError
from nnray.runners import local
from nnray.runners.display import Quiet
from nnray.runners.exhibits.draw import file_of
from nnray.runners.exhibits.make import exhibits
from nnray.runners.folder import RunFolder, create
from nnray.runners.results import RunResult
from nnray.tasks.exhibit import Curves, Passage, Picture, Points
from nnray.tracking import MemoryTracker

TASK = "tests.unit.runners.showing:showing"
FILES = {"first.png", "map.png", "scores.png", "words.txt"}
EPOCHS = {f"epoch-{epoch:06d}-{name}" for epoch in (1, 2) for name in FILES}


def experiment(**changes: Any) -> Experiment:
    values: dict[str, Any] = {
        "name": "digits",
        "task": TASK,
        "data": {"name": "digits", "limit": 200},
        "model": {"name": "mlp", "hidden": [8]},
        "optimizer": {"name": "adam", "lr": 3e-3},
        "training": {"epochs": 2, "batch_size": 64},
    }
    return parse(values | changes)


@pytest.fixture
def tracker() -> Iterator[MemoryTracker]:
    made = MemoryTracker()
    yield made
    made.close()


def train(run: RunFolder, tracker: MemoryTracker, display: Any = None) -> RunResult:
    result = local.train(run.experiment, run, tracker=tracker, display=display or Quiet())
    tracker.flush()
    return result


def kept(run: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run.path / "exhibits").iterdir()}


def test_a_run_keeps_and_records_what_its_task_shows(tracker: MemoryTracker) -> None:
    run = create(experiment(), "train")
    result = train(run, tracker)
    assert kept(run).keys() == FILES | EPOCHS
    recorded = set(tracker.runs[run.name].files)
    assert {f"exhibits/{name}" for name in FILES | EPOCHS} <= recorded
    assert result.shown.endswith("exhibits")
    assert ["shown", result.shown] in [line.split() for line in result.summary().splitlines()]


def test_the_last_epoch_shows_what_the_model_shows(tracker: MemoryTracker) -> None:
    run = create(experiment(training={"epochs": 2, "batch_size": 64, "select": "last"}), "train")
    train(run, tracker)
    files = kept(run)
    assert all(files[f"epoch-000002-{name}"] == files[name] for name in FILES)
    assert files["epoch-000001-scores.png"] != files["scores.png"]


def test_showing_does_not_change_what_is_learnt(tracker: MemoryTracker) -> None:
    shown, plain = create(experiment(), "train"), create(experiment(task="classification"), "train")
    results = [local.train(run.experiment, run, tracker=tracker, display=Quiet()) for run in (shown, plain)]
    assert results[0].model_sha256 == results[1].model_sha256
    assert not (plain.path / "exhibits").exists()
    assert results[1].shown == "" and "shown" not in results[1].summary()


def test_a_killed_run_shows_the_same(tracker: MemoryTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = create(experiment(), "train"), create(experiment(), "train")
    train(whole, tracker)

    class Killed(BaseException):
        pass

    class Dies(Quiet):
        def epoch(self, report: Any) -> None:
            if report.epoch == 2:
                raise Killed

    with pytest.raises(Killed):
        train(cut, tracker, Dies())
    train(cut, tracker)
    assert kept(cut) == kept(whole)


def test_validation_examples_are_shown_and_no_others() -> None:
    made = experiment()
    splits = load_data(made)
    model = assemble(made, splits).state.model
    model.train()
    before = torch.get_rng_state()
    files = exhibits(made, model, splits=splits)
    assert model.training and torch.equal(torch.get_rng_state(), before)
    assert splits.val is not None
    assert files["words.txt"].startswith(f"{len(splits.val)} examples, seed {made.seed}".encode())
    assert exhibits(made, model, splits=splits) == files


def test_nothing_is_shown_of_private_data() -> None:
    private = experiment(
        privacy={"unit": "example", "noise_multiplier": 1.0, "clip_norm": 1.0, "delta": 1e-5}
    )
    splits = load_data(private)
    model = assemble(experiment(), splits).state.model
    assert exhibits(experiment(), model, splits=splits)
    assert exhibits(private, model, splits=splits) == {}


def test_what_is_no_exhibit_is_told(tracker: MemoryTracker) -> None:
    run = create(experiment(task={"name": TASK, "nonsense": True}), "train")
    with pytest.raises(
        UserCodeError, match=r"exhibits\(\) gave 'accuracy': float; expected lower-case names"
    ):
        train(run, tracker)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_enlarged_pixel_by_pixel(channels: int) -> None:
    pixels = torch.rand(channels, 5, 8)
    name, data = file_of("some", Picture(pixels * 3 - 1))
    image = np.asarray(Image.open(io.BytesIO(data)))
    assert name == "some.png" and image.shape[:2] == (300, 480)
    expected = ((pixels * 3 - 1).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy().squeeze()
    assert np.array_equal(image[::60, ::60], expected)
    assert np.array_equal(image[59::60, 59::60], expected)


def test_a_large_picture_stays_as_it_is() -> None:
    _, data = file_of("some", Picture(torch.rand(3, 500, 600)))
    assert Image.open(io.BytesIO(data)).size == (600, 500)


def test_a_passage_is_a_text_file() -> None:
    assert file_of("poem", Passage("roses\nare red")) == ("poem.txt", b"roses\nare red\n")


@pytest.mark.parametrize("count", [0, 3, 15, 40])
def test_points_of_any_number_of_classes_are_drawn(count: int) -> None:
    labels = torch.arange(50) % max(count, 1)
    classes = tuple(f"class {number}" for number in range(count))
    _, data = file_of("map", Points(torch.rand(50, 2), labels, classes, x="$a", y="b"))
    assert Image.open(io.BytesIO(data)).size == (840, 720)


def test_curves_may_have_gaps() -> None:
    heights = torch.tensor([1.0, float("nan"), 2.0])
    _, data = file_of("curve", Curves({"a": heights, "b": heights + 1}, x="step", y="value", begin=5))
    assert np.asarray(Image.open(io.BytesIO(data))).std() > 0
