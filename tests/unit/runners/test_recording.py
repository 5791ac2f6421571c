"""The end of a run: what a person is told of records that the store has not taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nnray.runners.recording import log_model, settle, waiting
from nnray.tracking import DiskSpool, MemoryTracker, MlflowTracker, Tracker, writer
from nnray.tracking.spool import Entry

NOWHERE = "http://127.0.0.1:1"
EXAMPLE = np.zeros((2, 4), np.float32)


class Notes:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str, /) -> None:
        self.texts.append(text)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def memory() -> Iterator[MemoryTracker]:
    made = MemoryTracker()
    yield made
    made.close()


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MlflowTracker]:
    monkeypatch.setattr(writer, "PATIENCE_S", 0.1)
    made = MlflowTracker(NOWHERE, experiment="mine", spool=DiskSpool(tmp_path / "run" / "spool"))
    yield made
    made.close(0)


def log(tracker: Tracker, notes: Notes, run: str, module: nn.Module) -> str:
    what: dict[str, Any] = {"step": 3, "sha256": "ab", "metrics": {"loss": 0.5}, "register": "net"}
    what["described"] = {"version": 1, "experiment": {}, "info": {}}
    return log_model(tracker, notes, run=run, module=module, example=EXAMPLE, **what)


def test_a_model_is_recorded_and_registered(memory: MemoryTracker, notes: Notes) -> None:
    run = memory.start_run(name="one", verb="train")
    uri = log(memory, notes, run, nn.Linear(4, 2))
    memory.flush()
    assert memory.registered == {"net": {"champion": uri}}
    assert memory.runs[run].models["model", 3].sha256 == "ab"
    assert notes.texts == []


def test_a_store_that_is_away_gets_the_model_later_and_one_is_told(away: MlflowTracker, notes: Notes) -> None:
    run = away.start_run(name="one", verb="train")
    assert log(away, notes, run, nn.Linear(4, 2)) == ""
    assert "warning: the model is not in the tracking store: http://127.0.0.1:1" in notes.texts[0]
    assert away.spool is not None
    assert len(list(away.spool.glob("model-*/MLmodel"))) == 1
    settle(away, notes, run=run)
    assert notes.texts[1].startswith(f"warning: 4 records wait in {away.spool}, as the tracking store")
    assert notes.texts[1].endswith("`nnray sync` sends them")


class Branching(nn.Module):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs if inputs.sum() > 0 else inputs[:, :3]


def test_a_model_that_no_graph_can_hold_is_recorded_without_one(away: MlflowTracker, notes: Notes) -> None:
    run = away.start_run(name="one", verb="train")
    log(away, notes, run, Branching())
    assert [text for text in notes.texts if "torch.export" in text] == []
    assert away.spool is not None
    [folder] = away.spool.glob("model-*")
    assert (folder / "MLmodel").is_file()
    assert list(folder.rglob("*.safetensors"))
    assert not list(folder.rglob("*.pt2"))


def test_the_end_of_a_run_that_went_well_says_nothing(memory: MemoryTracker, notes: Notes) -> None:
    run = memory.start_run(name="one", verb="train")
    settle(memory, notes, run=run)
    assert memory.runs[run].status == "FINISHED"
    assert notes.texts == []


def test_what_the_store_refused_is_told_at_the_end(memory: MemoryTracker, notes: Notes) -> None:
    run = memory.start_run(name="one", verb="train", params={"lr": 1})
    memory.log_params(run, {"lr": 2})
    settle(memory, notes, run=run)
    assert notes.texts == [
        "warning: the tracking store refused params of one: parameters keep their first value: lr"
    ]


def test_records_that_only_memory_has_are_told_as_lost(
    memory: MemoryTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(entry: Entry) -> None:
        raise ConnectionError("away")

    monkeypatch.setattr(memory._writer, "_deliver", fails)
    monkeypatch.setattr(writer, "PATIENCE_S", 0.05)
    memory.start_run(name="one", verb="train")
    assert memory.flush(30) == 1
    assert waiting(memory, 1).startswith("1 records did not reach the tracking store memory:")
