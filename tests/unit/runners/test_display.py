"""What a person sees of training, and that notes get through on every display."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from nnray.runners.display import Bar, Display, Lines, Quiet, Screen, choose_display
from nnray.runners.sweep.ledger import Ledger
from nnray.runners.sweep.table import LiveTable, Silent, SweepDisplay, TrialLines
from nnray.training.loop import EpochReport, Progress

METRICS = {"train_loss": 0.5, "val_accuracy": 0.9123, "samples_per_s": 1234.0, "epoch_seconds": 3.0}
EPOCH = EpochReport(2, 20, METRICS, is_best=True)


def sweep_display(kind: type[LiveTable] | type[TrialLines]) -> Screen:
    return kind(Ledger("max"), metric="val_accuracy", trials=2, title="digits")


SCREENS: dict[str, Callable[[], Screen]] = {
    "quiet": Quiet,
    "lines": Lines,
    "bar": Bar,
    "silent": Silent,
    "trial lines": lambda: sweep_display(TrialLines),
    "live table": lambda: sweep_display(LiveTable),
}


@pytest.mark.parametrize("name", SCREENS)
def test_a_note_gets_through_on_every_display(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with SCREENS[name]() as screen:
        screen.note("warning: [not a tag] it is late")
    captured = capsys.readouterr()
    assert "warning: [not a tag] it is late\n" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("name", SCREENS)
def test_no_display_swallows_an_error(name: str) -> None:
    with pytest.raises(KeyError, match="gone"), SCREENS[name]():
        raise KeyError("gone")


def test_a_quiet_display_shows_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    with Quiet() as display:
        display.begin("digits", epochs=4)
        display.epoch(EPOCH)
    with Silent() as silent:
        silent.refresh()
    assert capsys.readouterr() == ("", "")


def test_both_kinds_of_display_have_one_base() -> None:
    assert issubclass(Display, Screen)
    assert issubclass(SweepDisplay, Screen)
    for kind in (Quiet, Lines, Bar):
        assert issubclass(kind, Display)
    for kind in (Silent, TrialLines, LiveTable):
        assert issubclass(kind, SweepDisplay)


def test_lines_say_how_an_epoch_went_and_how_long_it_will_take(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as display:
        display.begin("digits", epochs=4)
        display.epoch(EPOCH)
    title, line = capsys.readouterr().err.splitlines()
    assert title == "digits: 4 epochs"
    assert line == "epoch 2/4  train_loss 0.5000  val_accuracy 0.9123  1,234 samples/s  *  6 s left"


def test_one_epoch_is_not_many(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as display:
        display.begin("digits", epochs=1)
    assert capsys.readouterr().err == "digits: 1 epoch\n"


def test_a_bar_leaves_a_line_for_each_epoch() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with Bar(console) as display:
        display.begin("digits", epochs=4)
        display.progress(Progress(epoch=1, batch=1, num_batches=2, examples=64, seconds=0.5, loss=0.7))
        display.epoch(EPOCH)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "epoch 2/4  train_loss 0.5000" in text
    assert "digits: 4 epochs" in text


@pytest.mark.parametrize(
    ("quiet", "terminal", "kind"), [(True, True, Quiet), (False, True, Bar), (False, False, Lines)]
)
def test_the_display_fits_where_it_is_shown(
    quiet: bool, terminal: bool, kind: type[Display], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    assert type(choose_display(quiet=quiet)) is kind
