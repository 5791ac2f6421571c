"""What a person sees of a federated run."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest
from rich.console import Console

from nnray.runners.display import Screen
from nnray.runners.federated.display import (
    FederatedDisplay,
    Pace,
    QuietRounds,
    RoundBar,
    RoundLines,
    choose_display,
)

COSTS = {"cohort": 10.0, "updates": 10.0, "round_seconds": 2.0}
DISPLAYS: dict[str, Callable[[], FederatedDisplay]] = {
    "none": FederatedDisplay,
    "quiet": QuietRounds,
    "lines": RoundLines,
    "bar": RoundBar,
}


@dataclass(frozen=True)
class Record:
    round: int
    metrics: Mapping[str, float] = field(default_factory=lambda: COSTS)


def paced(*records: Record, rounds: int = 10) -> Pace:
    pace = Pace(rounds)
    for record in records:
        pace.take(record)
    return pace


def drawn(*records: Record, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with RoundBar(console) as display:
        display.begin("digits", rounds=4)
        for record in records:
            display.round(record)
        display.note("warning: [not a tag]")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("name", DISPLAYS)
def test_a_note_gets_through_on_every_display(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with DISPLAYS[name]() as display:
        assert isinstance(display, Screen)
        display.note("warning: [not a tag] it is late")
    captured = capsys.readouterr()
    assert "warning: [not a tag] it is late\n" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("name", DISPLAYS)
def test_no_display_swallows_an_error(name: str) -> None:
    with pytest.raises(KeyError, match="gone"), DISPLAYS[name]():
        raise KeyError("gone")


def test_a_quiet_display_shows_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    with QuietRounds() as display:
        display.begin("digits", rounds=4)
        display.round(Record(1))
    assert capsys.readouterr() == ("", "")


def test_elsewhere_than_on_a_terminal_there_is_a_line_a_round(capsys: pytest.CaptureFixture[str]) -> None:
    with RoundLines() as display:
        display.begin("digits", rounds=4)
        display.round(Record(1, {**COSTS, "test_accuracy": 0.91234, "test_loss": 0.5, "failures": 0.0}))
        display.round(Record(2, {**COSTS, "updates": 8.0, "failures": 2.0}))
    assert capsys.readouterr().err.splitlines() == [
        "digits: 4 rounds",
        "round 1/4  test_accuracy 0.9123  test_loss 0.5000  cohort 10  5 clients/s  6 s left",
        "round 2/4  test_accuracy 0.9123  test_loss 0.5000  cohort 10  2 failed  5 clients/s  4 s left",
    ]


def test_a_terminal_gets_a_bar_with_the_same_words() -> None:
    text = drawn(Record(1, {**COSTS, "val_accuracy": 0.5, "test_accuracy": 0.75}), Record(2))
    assert "digits: 4 rounds" in text
    assert "warning: [not a tag]" in text
    assert "round 2/4" in text
    assert "test_accuracy 0.7500  cohort 10  5 clients/s" in text
    assert "val_accuracy" not in text
    assert "0:04" in text


def test_a_narrow_terminal_still_tells_round_and_time() -> None:
    text = drawn(Record(1, {**COSTS, "val_accuracy": 0.5, "test_accuracy": 0.75}), Record(2), width=60)
    assert "round 2/4" in text
    assert "0:04" in text


def test_before_the_first_round_the_time_left_is_not_known() -> None:
    assert math.isnan(paced().left_s)
    assert "-:--" in drawn()


def test_the_time_left_follows_the_rounds_that_are_to_come() -> None:
    assert paced(Record(1)).left_s == 18
    assert paced(Record(1), Record(2)).left_s == 16
    slower = {**COSTS, "round_seconds": 7.0}
    assert paced(Record(1), Record(2, slower)).left_s == pytest.approx(8 * (0.8 * 2 + 0.2 * 7))
    assert paced(Record(10)).left_s == 0


def test_a_resumed_run_counts_from_where_it_is() -> None:
    assert paced(Record(7)).left_s == 6


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (
            {"test_accuracy": 0.5, "val_accuracy": 0.6, "train_loss": 1.0},
            "test_accuracy 0.5000  train_loss 1.0000",
        ),
        ({"val_accuracy": 0.6, "val_loss": 2.0, "train_loss": 1.0}, "val_accuracy 0.6000  val_loss 2.0000"),
        ({}, "cohort 3"),
    ],
)
def test_the_scores_that_tell_most_are_shown(metrics: dict[str, float], expected: str) -> None:
    assert paced(Record(1, metrics)).words(3.0).startswith(expected)


def test_the_display_fits_where_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(choose_display(quiet=True), QuietRounds)
    assert isinstance(choose_display(quiet=False), RoundLines)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert isinstance(choose_display(quiet=False), RoundBar)
