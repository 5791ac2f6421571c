"""What a person sees while training runs; all of it goes to stderr.

A terminal gets a bar with loss, metric, samples a second and the time left; anything else
gets a plain line an epoch.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from nnray.runners.headline import scores
from nnray.training import loop
from nnray.training.loop import EpochReport

_EPOCHS = ("epochs", "epoch")


class Screen:
    """What every display does, unless it says otherwise: nothing but to pass notes on."""

    def note(self, text: str, /) -> None:
        """Something that a person should know: a warning isn't progress, so all displays show it."""
        print(text, file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Display(Screen):
    """Shows where training stands; this one shows nothing of it."""

    def begin(self, title: str, *, epochs: int) -> None:
        """A run of ``epochs`` begins."""

    def progress(self, progress: loop.Progress, /) -> None:
        """An epoch has come further."""

    def epoch(self, report: EpochReport, /) -> None:
        """An epoch has ended."""


class Quiet(Display):
    """Shows nothing but notes."""


class Lines(Quiet):
    """A plain line an epoch, for logs and pipes."""

    def __init__(self) -> None:
        self._epochs = 0
        self._began = time.monotonic()

    def begin(self, title: str, *, epochs: int) -> None:
        """Say what begins."""
        self._epochs = epochs
        self.note(f"{title}: {epochs} epoch{'s' * (epochs != 1)}")

    def epoch(self, report: EpochReport, /) -> None:
        """Say how the epoch went."""
        left = (self._epochs - report.epoch) * report.metrics["epoch_seconds"]
        self.note(f"epoch {report.epoch}/{self._epochs}  {summary(report)}  {left:.0f} s left")


class Bar(Display):
    """A live bar on a terminal, with a line left behind for each epoch."""

    def __init__(self, console: Console | None = None) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[now]}"),
            TimeRemainingColumn(compact=True),
        )
        self._bar = Progress(*columns, console=console or Console(stderr=True), expand=True)
        self._task: TaskID | None = None
        self._epochs = 0

    def begin(self, title: str, *, epochs: int) -> None:
        """Start the bar."""
        self._epochs = epochs
        self._bar.start()
        self.note(f"{title}: {epochs} epoch{'s' * (epochs != 1)}")
        self._task = self._bar.add_task("training", total=float(epochs), now="")

    def progress(self, progress: loop.Progress, /) -> None:
        """Move the bar within an epoch."""
        done = progress.epoch - 1 + progress.batch / progress.num_batches
        rate = progress.examples / progress.seconds
        self._update(done, f"loss {progress.loss:.4f}  {rate:,.0f} samples/s")

    def epoch(self, report: EpochReport, /) -> None:
        """Leave a line behind."""
        self._bar.console.print(f"epoch {report.epoch}/{self._epochs}  {summary(report)}", highlight=False)
        self._update(float(report.epoch), "")

    def note(self, text: str, /) -> None:
        """Print above the bar."""
        self._bar.console.print(text, highlight=False, markup=False)

    def _update(self, done: float, now: str) -> None:
        if self._task is not None:
            self._bar.update(self._task, completed=done, now=now)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def summary(report: EpochReport) -> str:
    """An epoch in a few words."""
    trained = {name: report.metrics[name] for name in ("train_loss",) if name in report.metrics}
    told = trained | dict(reversed(scores(report.metrics, "val").items()))
    shown = [f"{name} {value:.4f}" for name, value in told.items()]
    best = "  *" if report.is_best else ""
    return f"{'  '.join(shown)}  {report.metrics['samples_per_s']:,.0f} samples/s{best}"


def choose_display(*, quiet: bool) -> Display:
    """The display that fits: none, a bar on a terminal, or lines."""
    if quiet:
        return Quiet()
    return Bar() if sys.stderr.isatty() else Lines()
