"""The journal: what is written is read, and reading it is living it again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from nnray.runners.sweep.journal import (
    Decided,
    Ended,
    Event,
    Journal,
    Proposed,
    Recorded,
    Reported,
    Started,
)
from nnray.runners.sweep.ledger import Ledger
from nnray.runners.sweep.schedulers import SuccessiveHalving
from tests.unit.sweep.bench import Bench

EVENTS: tuple[Event, ...] = (
    Proposed(0, {"optimizer.lr": 1e-3, "model.hidden": [8, 8], "model.kind": "a"}, "run/0000"),
    Started(0),
    Reported(0, 1, 0.5, {"val_accuracy": 0.5, "val_loss": math.inf}, True),
    Decided(0, 1, False, "0.5 to pass"),
    Ended(0, "failed", "DivergedError: the loss is not finite"),
    Recorded(0, "models:/m-1", "abc"),
)


def test_events_come_back_as_they_were(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for event in EVENTS:
        journal.append(event)
    assert tuple(journal.events()) == EVENTS


def test_an_event_is_on_the_disk_when_append_returns(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).append(EVENTS[0])
    assert json.loads(path.read_text())["event"] == "proposed"


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_torn_last_line_is_passed_over_and_closed_off(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    for event in EVENTS:
        journal.append(event)
    path.write_bytes(path.read_bytes()[:-cut])
    left = EVENTS if cut == 1 else EVENTS[:-1]
    assert tuple(journal.events()) == left
    journal.append(EVENTS[1])
    assert tuple(journal.events()) == (*left, EVENTS[1])


def test_kinds_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"event": "teleported", "trial": 1}\n{"no": "event"}\n')
    assert list(Journal(path).events()) == []


def test_a_journal_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert list(Journal(tmp_path / "none").events()) == []


def test_replay_gives_the_ledger_of_the_live_sweep(bench: Callable[..., Bench]) -> None:
    live = bench(trials=6, scheduler="asha", max_failures=3)
    live.run_trial(0.2, 0.6, 0.5, 0.4)
    live.run_trial(0.1, 0.2, 0.3, 0.4)
    live.run_trial(0.3, math.nan, 0.3, 0.4)
    live.conductor.recorded(0, model_uri="models:/m-1", sha256="abc")
    live.conductor.propose()
    replayed = Ledger("max", events=live.journal.events())
    assert _plain(replayed) == _plain(live.ledger)
    assert [t.state for t in replayed.trials.values()] == ["finished", "pruned", "failed", "running"]


def _plain(ledger: Ledger) -> list[str]:
    """Trials as text: NaN equals itself there."""
    return [json.dumps(asdict(trial), sort_keys=True) for trial in ledger.trials.values()]


def test_replay_rebuilds_the_rungs(bench: Callable[..., Bench]) -> None:
    live = bench(trials=8, scheduler="asha")
    for start in (0.2, 0.5, 0.1, 0.6, 0.55):
        live.run_trial(start, start + 0.1, start + 0.2, start + 0.3)
    rebuilt = SuccessiveHalving("max")
    reports = [event for event in live.journal.events() if isinstance(event, Reported)]
    last = {e.trial: e.epoch for e in reports if e.epoch == 4}
    for event in reports:
        if last.get(event.trial) != event.epoch:
            rebuilt.judge(event.trial, event.epoch, event.value)
    assert rebuilt == live.conductor._scheduler


def test_every_event_is_written_before_anyone_hears_of_it(bench: Callable[..., Bench]) -> None:
    live = bench(scheduler="asha")
    written: list[int] = []
    live.conductor._listeners += (lambda event: written.append(len(list(live.journal.events()))),)
    live.run_trial(0.2, 0.3, 0.4, 0.5)
    assert written == list(range(1, len(written) + 1))
