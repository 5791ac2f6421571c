"""What a person sees of a sweep; all of it goes to stderr.

A terminal gets a live table, best trial first; anything else a plain line a trial, then the table.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from nnray.runners.sweep.journal import Ended, Event
from nnray.runners.sweep.ledger import Ledger, Trial

_REFRESH_S = 0.25
_LOG_WIDTH = 100
_FRAME, _NUMBER, _LEAST = 3, 6, 10
"""Characters around a cell; of a number; and of parameters that are worth showing."""
_COLORS = {"running": "cyan", "finished": "green", "pruned": "yellow", "failed": "red", "interrupted": "red"}


class SweepDisplay(Protocol):
    """Shows where a sweep stands."""

    def event(self, event: Event, /) -> None:
        """Something has happened; the ledger has it."""

    def refresh(self) -> None:
        """Called often: time to draw."""

    def note(self, text: str, /) -> None:
        """Something that a person should know."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Silent:
    """Shows nothing but notes."""

    def event(self, event: Event, /) -> None:
        """Nothing."""

    def refresh(self) -> None:
        """Nothing."""

    def note(self, text: str, /) -> None:
        """A line on stderr."""
        print(text, file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class TrialLines(Silent):
    """A plain line for each trial that has ended, and the table at the end.

    Args:
        ledger: What is known of the trials.
        metric: What they are judged by.
        trials: How many there will be.
        title: Name of the sweep.
    """

    def __init__(self, ledger: Ledger, *, metric: str, trials: int, title: str) -> None:
        self._ledger, self._metric, self._trials, self._title = ledger, metric, trials, title

    def __enter__(self) -> Self:
        self.note(f"{self._title}: {self._trials} trials")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        console = Console(file=sys.stderr, width=_LOG_WIDTH, color_system=None)
        rows = len(self._ledger.trials)
        console.print(trial_table(self._ledger, metric=self._metric, width=_LOG_WIDTH, rows=rows))

    def event(self, event: Event, /) -> None:
        """Say how a trial ended."""
        if not isinstance(event, Ended):
            return
        trial, best = self._ledger.trials[event.trial], self._ledger.best
        reason = f"  ({trial.reason})" if trial.state == "failed" else ""
        leader = f"  best {number(best.value)} (trial {best.number})" if best else ""
        done = len(self._ledger.trials) - len(self._ledger.running)
        self.note(
            f"[{done}/{self._trials}] trial {trial.number} {trial.state} after epoch {trial.epoch}  "
            f"{self._metric} {number(trial.value)}{leader}  {words(trial.params)}{reason}"
        )


class LiveTable(Silent):
    """A table that is drawn over and over.

    Args:
        ledger: What is known of the trials.
        metric: What they are judged by.
        trials: How many there will be.
        title: Name of the sweep.
        console: Where to draw.
    """

    def __init__(
        self, ledger: Ledger, *, metric: str, trials: int, title: str, console: Console | None = None
    ) -> None:
        self._ledger, self._metric, self._trials, self._title = ledger, metric, trials, title
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
        done = len(self._ledger.trials) - len(self._ledger.running)
        title = f"{self._title}: {done} of {self._trials} trials, {seconds:.0f} s"
        table = trial_table(self._ledger, metric=self._metric, width=self._console.width, rows=rows)
        table.title = title
        self._live.update(table, refresh=True)


def trial_table(ledger: Ledger, *, metric: str, width: int, rows: int) -> Table:
    """The trials, best first.

    Args:
        ledger: What is known of them.
        metric: What they are judged by.
        width: Columns of the terminal; a narrow one gets the parameters in one column.
        rows: Most rows to show; trials that are running are among them.
    """
    paths = list(next(iter(ledger.trials.values())).params) if ledger.trials else []
    names = short_names(paths)
    is_wide = 34 + len(metric) + sum(max(len(name), 8) + 3 for name in names.values()) <= width
    shown = _shown(ledger, rows)
    table = Table(title_justify="left", expand=False)
    fixed = _fixed_columns(metric, shown, width=width)
    for title, columns in fixed.items():
        justify: Literal["left", "right"] = "left" if title == "state" else "right"
        table.add_column(title, justify=justify, no_wrap=True, width=columns)
    room = width - sum(fixed.values()) - _FRAME * (len(fixed) + 1) - 1
    own = list(names.values()) if is_wide else ["parameters"] if room >= _LEAST else []
    for title in own:
        table.add_column(title, no_wrap=True, overflow="ellipsis", max_width=None if is_wide else room)
    for trial in shown:
        values = (
            [number(trial.params.get(path)) for path in names]
            if is_wide
            else [words(trial.params)][: len(own)]
        )
        color = _COLORS[trial.state]
        state = f"[{color}]{trial.state}[/]"
        table.add_row(str(trial.number), str(trial.epoch), number(trial.value), state, *values)
    return table


def _fixed_columns(metric: str, trials: list[Trial], *, width: int) -> dict[str, int]:
    """Columns that are always there, and how wide: the metric's name gives way first."""
    state = max([len("finished"), *(len(trial.state) for trial in trials)])
    others = {"trial": len("trial"), "epoch": len("epoch")}
    room = width - sum(others.values()) - state - _FRAME * 4 - 1
    return {**others, metric: min(len(metric), max(room, _NUMBER)), "state": state}


def _shown(ledger: Ledger, rows: int) -> list[Trial]:
    """The best trials, and all that are running, in order."""
    ranked = ledger.ranked
    running = [trial for trial in ranked if trial.state == "running"]
    room = max(0, rows - len(running))
    others = {t.number for t in [trial for trial in ranked if trial.state != "running"][:room]}
    return [trial for trial in ranked if trial.state == "running" or trial.number in others][:rows]


def short_names(paths: list[str]) -> dict[str, str]:
    """Dotted paths to their last words, where those are not the same."""
    last = [path.rsplit(".", 1)[-1] for path in paths]
    return {path: word if last.count(word) == 1 else path for path, word in zip(paths, last, strict=True)}


def words(params: Mapping[str, Any]) -> str:
    """Parameters in one line."""
    names = short_names(list(params))
    return " ".join(f"{names[path]}={number(value)}" for path, value in params.items())


def number(value: Any) -> str:
    """A value in a few characters."""
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def choose_display(ledger: Ledger, *, metric: str, trials: int, title: str, quiet: bool) -> SweepDisplay:
    """The display that fits: none, a live table on a terminal, or lines."""
    if quiet:
        return Silent()
    if sys.stderr.isatty():
        return LiveTable(ledger, metric=metric, trials=trials, title=title)
    return TrialLines(ledger, metric=metric, trials=trials, title=title)
