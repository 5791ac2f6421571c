"""What a person sees of a sweep; all of it goes to stderr.

A terminal gets a live table, best trial first; anything else a plain line a trial, then the table.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from nnray.runners.display import Screen
from nnray.runners.sweep.best_first import state_of, trial_table
from nnray.runners.sweep.journal import Ended, Event, Turned
from nnray.runners.sweep.ledger import Ledger, Trial
from nnray.runners.sweep.words import number, words

_REFRESH_S = 0.25
_LOG_WIDTH = 100


class SweepDisplay(Screen):
    """Shows where a sweep stands; this one shows nothing of it."""

    def event(self, event: Event, /) -> None:
        """Something has happened; the ledger has it."""

    def refresh(self) -> None:
        """Called often: time to draw."""


class Silent(SweepDisplay):
    """Shows nothing but notes."""


class TrialLines(SweepDisplay):
    """A plain line for each trial that has ended, and the table at the end.

    Args:
        ledger: What is known of the trials.
        metric: What they are judged by.
        trials: How many there will be.
        title: Name of the sweep.
        period: What trials are trained in: ``epoch`` or ``round``.
    """

    def __init__(
        self, ledger: Ledger, *, metric: str, trials: int, title: str, period: str = "epoch"
    ) -> None:
        self._ledger, self._metric, self._trials, self._title = ledger, metric, trials, title
        self._period = period

    def __enter__(self) -> Self:
        self.note(f"{self._title}: {self._trials} trials")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        console = Console(file=sys.stderr, width=_LOG_WIDTH, color_system=None)
        rows = len(self._ledger.trials)
        console.print(
            trial_table(self._ledger, metric=self._metric, width=_LOG_WIDTH, rows=rows, period=self._period)
        )

    def event(self, event: Event, /) -> None:
        """Say how a trial ended, or whose weights it goes on with."""
        if isinstance(event, Ended):
            self.note(self._ended(self._ledger.trials[event.trial]))
        elif isinstance(event, Turned) and event.source is not None:
            self.note(
                f"trial {event.trial} takes the weights of trial {event.source} "
                f"after {self._period} {event.epoch}  {words(event.params)}"
            )

    def _ended(self, trial: Trial) -> str:
        best, done = self._ledger.best, len(self._ledger.trials) - len(self._ledger.open)
        reason = f"  ({trial.reason})" if trial.state == "failed" else ""
        leader = f"  best {number(best.value)} (trial {best.number})" if best else ""
        others = "".join(f"  {name} {number(value)}" for name, value in trial.objectives.items())
        return (
            f"[{done}/{self._trials}] trial {trial.number} {state_of(trial)} "
            f"after {self._period} {trial.epoch}  "
            f"{self._metric} {number(trial.value)}{others}{leader}  {words(trial.params)}{reason}"
        )


class LiveTable(SweepDisplay):
    """A table that is drawn over and over.

    Args:
        ledger: What is known of the trials.
        metric: What they are judged by.
        trials: How many there will be.
        title: Name of the sweep.
        period: What trials are trained in: ``epoch`` or ``round``.
        console: Where to draw.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        metric: str,
        trials: int,
        title: str,
        period: str = "epoch",
        console: Console | None = None,
    ) -> None:
        self._ledger, self._metric, self._trials, self._title = ledger, metric, trials, title
        self._period = period
        self._console = console or Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
        self._began, self._drawn = time.monotonic(), 0.0

    def refresh(self) -> None:
        """Draw, if the last time is a while ago."""
        now = time.monotonic()
        if now - self._drawn >= _REFRESH_S:
            self._drawn = now
            self._draw(max(3, self._console.height - 6))

    def note(self, text: str, /) -> None:
        """Print above the table."""
        self._console.print(text, highlight=False, markup=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draw(len(self._ledger.trials))
        self._live.stop()

    def _draw(self, rows: int) -> None:
        seconds = time.monotonic() - self._began
        done = len(self._ledger.trials) - len(self._ledger.open)
        width = self._console.width
        table = trial_table(self._ledger, metric=self._metric, width=width, rows=rows, period=self._period)
        table.title = f"{self._title}: {done} of {self._trials} trials, {seconds:.0f} s"
        self._live.update(table, refresh=True)


def choose_display(
    ledger: Ledger, *, metric: str, trials: int, title: str, period: str = "epoch", quiet: bool
) -> SweepDisplay:
    """The display that fits: none, a live table on a terminal, or lines."""
    if quiet:
        return Silent()
    if sys.stderr.isatty():
        return LiveTable(ledger, metric=metric, trials=trials, title=title, period=period)
    return TrialLines(ledger, metric=metric, trials=trials, title=title, period=period)
