"""What a person sees of a sweep that runs: lines, and a table that fits its terminal."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from nnray.runners.sweep import table as tables
from nnray.runners.sweep.best_first import trial_table
from nnray.runners.sweep.journal import Turned
from nnray.runners.sweep.ledger import Ledger
from nnray.runners.sweep.table import LiveTable, TrialLines
from nnray.runners.sweep.words import all_paths, number, short_names, words
from tests.unit.sweep.bench import Bench
from tests.unit.sweep.gallery import ledger_of, population, shown, trial

MakeBench = Callable[..., Bench]
TWO = shown(objectives=("parameters",), limit=60_000)
WIDTHS = [20, 40, 52, 60, 72, 80, 100, 119, 140, 200]


def printed(ledger: Ledger, width: int, rows: int = 50) -> list[str]:
    """The lines of a table, without color."""
    console = Console(file=io.StringIO(), width=max(width, 40))
    console.print(trial_table(ledger, metric="val_accuracy", width=width, rows=rows))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split("[┃│]", line)[1:-1]]


def rows_of(ledger: Ledger, width: int, rows: int = 50) -> list[dict[str, str]]:
    """The table as its titles and cells."""
    lines = printed(ledger, width, rows)
    return [dict(zip(cells(lines[1]), cells(line), strict=True)) for line in lines[3:-1]]


@pytest.mark.parametrize("width", WIDTHS[1:])
@pytest.mark.parametrize("sweep", [TWO, shown(), population()], ids=["two objectives", "one", "population"])
def test_a_table_is_never_wider_than_its_terminal_nor_a_trial_longer_than_a_line(sweep, width: int) -> None:  # type: ignore[no-untyped-def]
    lines = printed(sweep.ledger, width)
    assert max(map(len, lines)) <= width
    assert len(lines) == len(sweep.ledger.trials) + 4


@pytest.mark.parametrize(
    ("width", "titles"),
    [
        (140, ["parameters", "state", "optimizer", "lr", "momentum", "hidden", "dropout", "batch_size"]),
        (80, ["parameters", "state", "tried"]),
        (60, ["parameters", "state"]),
        (40, ["state"]),
    ],
)
def test_columns_go_one_kind_after_the_other_where_there_is_no_room(width: int, titles: list[str]) -> None:
    first = list(rows_of(TWO.ledger, width, rows=14)[0])
    assert first[:2] == ["trial", "epoch"]
    assert first[2] == ("val_accuracy" if width > 40 else "val_accu…")
    assert first[3:] == titles


def test_no_two_columns_have_the_same_title() -> None:
    for width in WIDTHS[1:]:
        titles = cells(printed(TWO.ledger, width)[1])
        assert len(set(titles)) == len(titles), width


def test_the_best_come_first_and_those_that_break_a_constraint_after_them() -> None:
    found = rows_of(TWO.ledger, 140)
    assert [int(row["trial"]) for row in found] == [trial.number for trial in TWO.ledger.ranked]
    states = [row["state"] for row in found]
    assert states[-1] == "failed"
    last_good = max(place for place, state in enumerate(states) if state == "finished")
    assert "infeasible" in states[last_good:]
    assert "infeasible" not in states[:last_good]


def test_an_absent_parameter_is_a_dash() -> None:
    for row in rows_of(TWO.ledger, 140):
        given = TWO.ledger.trials[int(row["trial"])].params
        assert (row["momentum"] == "-") == ("optimizer.momentum" not in given)
        assert row["lr"] == number(given["optimizer.lr"])
        assert row["parameters"] == number(TWO.ledger.trials[int(row["trial"])].objectives["parameters"])


def test_a_parameter_that_only_a_later_trial_has_is_in_its_place() -> None:
    ledger = ledger_of(trial(0, 0.9, a=1, c=3), trial(1, 0.8, a=1, b=2, c=3))
    assert [list(row)[4:] for row in rows_of(ledger, 100)] == [["a", "b", "c"]] * 2


def test_a_choice_of_nothing_is_not_an_absent_one() -> None:
    found = rows_of(ledger_of(trial(0, 0.9, a=None), trial(1, 0.8, b=1)), 100)
    assert [row["a"] for row in found] == ["None", "-"]


def test_running_trials_are_shown_however_bad() -> None:
    good = [trial(place, 0.9 - place / 100, lr=0.1) for place in range(8)]
    ledger = ledger_of(*good, trial(8, 0.1, state="running", lr=0.2))
    assert [row["trial"] for row in rows_of(ledger, 80, rows=3)] == ["0", "1", "8"]


def test_a_table_of_no_trials_is_drawn() -> None:
    assert len(printed(Ledger("max"), 80)) == 4


def test_text_of_a_trial_is_no_markup() -> None:
    assert rows_of(ledger_of(trial(0, 0.9, act="[bold]x[/]")), 100)[0]["act"] == "[bold]x[/]"


def test_lines_say_how_each_trial_ended(bench: MakeBench, capsys: pytest.CaptureFixture[str]) -> None:
    live = bench(trials=2)
    with TrialLines(live.ledger, metric="val_accuracy", trials=2, title="digits") as lines:
        live.conductor._listeners += (lines.event,)
        live.run_trial(0.25)
        live.run_trial(math.nan)
    title, first, second, *table = capsys.readouterr().err.splitlines()
    assert title == "digits: 2 trials"
    assert len(table) == 2 + 4
    assert all(len(line) <= 100 for line in table)
    assert first.startswith(
        "[1/2] trial 0 finished after epoch 1  val_accuracy 0.25  best 0.25 (trial 0)  lr="
    )
    assert second.startswith("[2/2] trial 1 failed after epoch 1")
    assert second.endswith("(val_accuracy is nan in epoch 1)")


def test_federated_trials_are_told_by_round(capsys: pytest.CaptureFixture[str]) -> None:
    from nnray.runners.sweep.journal import Ended

    with TrialLines(TWO.ledger, metric="m", trials=30, title="digits", period="round") as lines:
        lines.event(Ended(29, "finished"))
    console = Console(file=io.StringIO(), width=120, force_terminal=True, legacy_windows=False)
    with LiveTable(TWO.ledger, metric="m", trials=31, title="digits", period="round", console=console):
        pass
    assert isinstance(console.file, io.StringIO)
    _, line, *table = capsys.readouterr().err.splitlines()
    assert line.startswith("[30/30] trial 29 infeasible after round 4  m")
    for text in (line, "\n".join(table), console.file.getvalue()):
        assert "round" in text
        assert "epoch" not in text


def test_a_line_has_the_objectives_and_says_who_breaks_a_constraint(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from nnray.runners.sweep.journal import Ended

    lines = TrialLines(TWO.ledger, metric="val_accuracy", trials=30, title="digits")
    lines.event(Ended(29, "finished"))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("[30/30] trial 29 infeasible after epoch 4  val_accuracy 0.9697  parameters 1192")


def test_a_line_says_whose_weights_a_trial_goes_on_with(capsys: pytest.CaptureFixture[str]) -> None:
    lines = TrialLines(population().ledger, metric="val_accuracy", trials=8, title="digits")
    lines.event(Turned(3, 6, {"optimizer.lr": 0.02}, 5, "among the worst"))
    lines.event(Turned(4, 6, {"optimizer.lr": 0.03}, None, "goes on"))
    assert capsys.readouterr().err == "trial 3 takes the weights of trial 5 after epoch 6  lr=0.02\n"


def test_a_live_table_leaves_all_trials_behind() -> None:
    console = Console(file=io.StringIO(), width=120, height=12, force_terminal=True, legacy_windows=False)
    live = LiveTable(TWO.ledger, metric="val_accuracy", trials=31, title="digits", console=console)
    with live as display:
        display.refresh()
        display.note("a warning [not a tag]")
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "digits: 30 of 31 trials" in text
    assert "a warning [not a tag]" in text
    assert len(re.findall(r"│\s+\d+ │\s+\d │", text.rpartition("a warning")[2])) >= 30


def test_a_trial_that_waits_for_the_sweep_to_go_on_is_not_done() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True, legacy_windows=False)
    ledger = ledger_of(trial(0, 0.9, lr=0.1), trial(1, 0.8, state="interrupted", lr=0.1))
    ledger.trials[0].ended_ms = 1
    with LiveTable(ledger, metric="val_accuracy", trials=2, title="digits", console=console):
        pass
    assert "1 of 2 trials" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("quiet", "terminal", "kind"),
    [(True, True, "Silent"), (False, True, "LiveTable"), (False, False, "TrialLines")],
)
def test_the_display_fits_where_it_is_shown(
    quiet: bool,
    terminal: bool,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    display = tables.choose_display(TWO.ledger, metric="m", trials=1, title="t", period="round", quiet=quiet)
    assert type(display).__name__ == kind
    with display:
        pass
    assert ("round" in capsys.readouterr().err) is not quiet


def test_short_names_stay_apart() -> None:
    assert short_names(["optimizer.lr", "schedule.lr", "model.dropout"]) == {
        "optimizer.lr": "optimizer.lr",
        "schedule.lr": "schedule.lr",
        "model.dropout": "dropout",
    }


def test_the_name_of_a_component_is_the_component() -> None:
    assert short_names(["optimizer.name", "model.name"]) == {
        "optimizer.name": "optimizer",
        "model.name": "model",
    }


def test_values_are_short_and_counts_are_whole() -> None:
    given = [0.123456, 1e-7, 3, None, math.nan, "adam", 119050.0, 1.0, math.inf, 1e12]
    assert [number(value) for value in given] == [
        "0.1235", "1e-07", "3", "None", "-", "adam", "119050", "1", "inf", "1e+12",
    ]  # fmt: skip
    assert words({"optimizer.lr": 0.00123456, "model.hidden": [8]}) == "lr=0.001235 hidden=[8]"


def test_paths_are_in_the_order_in_which_they_stand() -> None:
    assert all_paths([{"a": 1, "d": 1}, {"a": 1, "b": 1, "d": 1}, {"c": 1, "d": 1}]) == ["c", "a", "b", "d"]
    assert all_paths([]) == []
