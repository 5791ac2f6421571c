"""The files of docs/how-to/own-data.md train, each on data of its own kind, and stream where they can."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from nnray.assembly import load_data
from nnray.config import Experiment, load, with_overrides
from nnray.data.splits import Examples
from nnray.data.stream import Streamed
from nnray.data.stream_memory import in_memory
from nnray.errors import ConfigError
from nnray.runners.display import Quiet
from nnray.runners.folder import create
from nnray.runners.local import train
from nnray.tracking import MemoryTracker
from tests.conftest import ROOT
from tests.markdown import blocks, write_files

PAGE = (ROOT / "docs/how-to/own-data.md").read_text(encoding="utf-8")
COUNT = 90
TEN_LINES = 10


def bars(rng: np.random.Generator, label: int, size: tuple[int, int]) -> Any:
    """A grey image of noise with a bar that lies or stands."""
    pixels = rng.integers(0, 90, size, dtype=np.uint8)
    at = int(rng.integers(2, min(size) - 2))
    pixels[(slice(at, at + 2), slice(None)) if label else (slice(None), slice(at, at + 2))] = 230
    return pixels


def write_photos(folder: Path) -> None:
    """Files of several sizes, kinds of colour and formats."""
    rng, kinds = np.random.default_rng(0), ("L", "RGB", "RGBA", "P", "LA")
    for number in range(COUNT):
        label, side = number % 2, 12 + number % 5
        place = folder / "photos" / ("standing", "lying")[label]
        place.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(bars(rng, label, (side, side + number % 3))).convert(kinds[number % 5])
        image.save(place / f"{number:03d}.png")


def numbers(seed: int) -> tuple[Any, Any]:
    """Points of two clouds."""
    rng = np.random.default_rng(seed)
    labels = np.arange(COUNT) % 2
    return rng.normal(0, 0.7, (COUNT, 2)) + 2 * labels[:, None], labels


def write_flowers(folder: Path) -> None:
    x, labels = numbers(1)
    rows = [f"{'ab'[label]},{one:.4f},{two:.4f}" for (one, two), label in zip(x, labels, strict=True)]
    (folder / "flowers.csv").write_text("\n".join(["kind,length,width", *rows, ""]))


def write_readings(folder: Path) -> None:
    x, labels = numbers(2)
    names = np.array(["still", "moving"])[labels]
    columns = {"pressure": x[:, 0], "heat": x[:, 1], "note": ["-"] * COUNT, "state": names}
    pq.write_table(pa.table(columns), folder / "readings.parquet", row_group_size=20)


def write_scans(folder: Path) -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(COUNT) % 2
    np.savez(folder / "scans.npz", x=np.stack([bars(rng, v, (12, 12)) for v in labels]), y=labels)


FILES: dict[str, Callable[[Path], None] | None] = {
    "photos": write_photos,
    "flowers": write_flowers,
    "readings": write_readings,
    "scans": write_scans,
    "rings": None,  # the page has it
}
STREAMED = ("photos", "flowers", "readings")
every_file = pytest.mark.parametrize("name", FILES)


@pytest.fixture
def experiment(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """The file of the page, with data beside it as the page says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("NNRAY_DATA", raising=False)
    write_files(PAGE, tmp_path)
    write = FILES[name]
    if write:
        write(tmp_path)
    return with_overrides(load(tmp_path / f"{name}.yaml"), {"training.threads": 1, "training.device": "cpu"})


@every_file
def test_it_trains_and_tells_the_classes_apart(name: str, experiment: Experiment) -> None:
    tracker = MemoryTracker()
    result = train(experiment, create(experiment, "train"), tracker=tracker, display=Quiet())
    tracker.close()
    assert result.metrics["test_accuracy"] >= 0.7, "half of them are right by saying one class"


@every_file
def test_its_file_has_about_ten_lines(name: str) -> None:
    [block] = [block for block in blocks(PAGE) if block.file == f"{name}.yaml"]
    assert len(block.body.splitlines()) - 1 <= TEN_LINES, "the first says how it is called"


@pytest.mark.parametrize("name", STREAMED)
def test_the_same_file_streams_the_same_examples(name: str, experiment: Experiment) -> None:
    whole = load_data(experiment)
    streamed = load_data(with_overrides(experiment, {"data.stream": True}))
    assert streamed.info.classes == whole.info.classes
    torch.testing.assert_close(streamed.info.mean, whole.info.mean)
    assert whole.test is not None
    assert streamed.test is not None
    tests = (whole.test(), streamed.test())
    for one, other in ((whole.train, streamed.train), (whole.val, streamed.val), tests):
        assert isinstance(one, Examples)
        assert isinstance(other, Streamed)
        read = in_memory(other)
        assert torch.equal(read.inputs, one.inputs)
        assert torch.equal(read.targets, one.targets)


@pytest.mark.parametrize("name", [name for name in FILES if name not in STREAMED])
def test_what_is_read_as_a_whole_says_so(name: str, experiment: Experiment) -> None:
    with pytest.raises(ConfigError, match=r"data\.stream: .* read as a whole: leave it out, or take csv"):
        load_data(with_overrides(experiment, {"data.stream": True}))


def test_the_page_names_every_file_that_is_tested() -> None:
    titles = re.findall(r"^# (\w+)\.yaml$", PAGE, re.MULTILINE)
    assert titles == list(FILES)
