"""What a person sees while a federated run goes on; all of it goes to stderr.

A terminal gets a bar with the round, the last accuracy and loss, cohort, failures, clients a second and the
time left; anything else gets a plain line a round.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from nnray.runners.display import Screen
from nnray.runners.headline import scores

_MEMORY = 0.8
"""What of the pace seen so far is kept when another round has been seen."""


class Round(Protocol):
    """What is known of a round that has ended."""

    @property
    def round(self) -> int:
        """Its number, from 1 on."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Of the model after it, where it was evaluated, and of how it went."""


class FederatedDisplay(Screen):
    """Shows where a federated run stands; this one shows nothing of it."""

    def begin(self, name: str, *, rounds: int) -> None:
        """A run of ``rounds`` begins."""

    def round(self, record: Round, /) -> None:
        """A round has ended."""


class QuietRounds(FederatedDisplay):
    """Shows nothing but notes."""


class Pace:
    """How long a round takes by now, and how well the model did when it was last evaluated."""

    def __init__(self, rounds: int) -> None:
        self._rounds, self._round = rounds, 0
        self._seconds, self._rate = math.nan, math.nan
        self._scores: dict[str, float] = {}
        self.failures = 0

    def take(self, record: Round) -> None:
        """Another round has ended."""
        metrics, self._round = record.metrics, record.round
        self._scores |= {name: metrics[name] for name in _scores(metrics)}
        self.failures += int(metrics.get("failures", 0))
        seconds = metrics.get("round_seconds", 0.0)
        self._seconds = _smoothed(self._seconds, seconds)
        if seconds > 0:
            self._rate = _smoothed(self._rate, metrics.get("updates", 0.0) / seconds)

    @property
    def left_s(self) -> float:
        """Seconds that the rounds to come will take; NaN before the first."""
        return (self._rounds - self._round) * self._seconds

    def words(self, cohort: float) -> str:
        """In a line: scores, cohort, failures, clients a second."""
        scores = (f"{name} {value:.4f}" for name, value in self._scores.items())
        failed = f"{self.failures} failed" if self.failures else ""
        rate = "" if math.isnan(self._rate) else f"{self._rate:,.0f} clients/s"
        return "  ".join(part for part in (*scores, f"cohort {cohort:.0f}", failed, rate) if part)


class RoundLines(FederatedDisplay):
    """A plain line a round, for logs and pipes."""

    def __init__(self) -> None:
        self._rounds, self._pace = 0, Pace(0)

    def begin(self, name: str, *, rounds: int) -> None:
        """Say what begins."""
        self._rounds, self._pace = rounds, Pace(rounds)
        self.note(f"{name}: {rounds} rounds")

    def round(self, record: Round, /) -> None:
        """Say how the round went."""
        self._pace.take(record)
        words = self._pace.words(record.metrics.get("cohort", 0.0))
        self.note(f"round {record.round}/{self._rounds}  {words}  {self._pace.left_s:.0f} s left")


class RoundBar(FederatedDisplay):
    """A live bar on a terminal; it leaves one line behind, how the last round went."""

    def __init__(self, console: Console | None = None) -> None:
        self._pace = Pace(0)
        self._count = Column(no_wrap=True)  # is not shortened where the terminal is narrow
        columns = (
            TextColumn("round {task.completed:.0f}/{task.total:.0f}", table_column=self._count),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[now]}"),
            _TimeLeft(table_column=Column(no_wrap=True, min_width=7)),
        )
        self._bar = Progress(*columns, console=console or Console(stderr=True), expand=True)

    def begin(self, name: str, *, rounds: int) -> None:
        """Start the bar."""
        self._count.min_width = len(f"round {rounds}/{rounds}")
        self._pace = Pace(rounds)
        self._bar.start()
        self.note(f"{name}: {rounds} rounds")
        self._bar.add_task(name, total=float(rounds), now="", left_s=math.nan)

    def round(self, record: Round, /) -> None:
        """Move the bar; it is drawn ten times a second, however many rounds there are."""
        self._pace.take(record)
        words = self._pace.words(record.metrics.get("cohort", 0.0))
        for task in self._bar.task_ids:
            self._bar.update(task, completed=float(record.round), now=words, left_s=self._pace.left_s)

    def note(self, text: str, /) -> None:
        """Print above the bar."""
        self._bar.console.print(text, highlight=False, markup=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


class _TimeLeft(ProgressColumn):
    """By the pace of the last rounds: rich's own forgets that evaluation comes every few rounds only."""

    def render(self, task: Task) -> Text:
        left = float(task.fields["left_s"])
        if math.isnan(left):
            return Text("-:--")
        minutes, seconds = divmod(math.ceil(left), 60)
        return Text(f"{minutes}:{seconds:02d}")


def choose_display(*, quiet: bool) -> FederatedDisplay:
    """The display that fits: none, a bar on a terminal, or lines."""
    if quiet:
        return QuietRounds()
    return RoundBar() if sys.stderr.isatty() else RoundLines()


def _scores(metrics: Mapping[str, float]) -> list[str]:
    """The score and the loss that tell most: on the test split, else on validation data, else training."""
    names = [name for split in ("test", "val", "train") for name in scores(metrics, split)]
    losses = [name for name in names if name.endswith("_loss")]
    return [*[name for name in names if name not in losses][:1], *losses[:1]]


def _smoothed(before: float, now: float) -> float:
    return now if math.isnan(before) else _MEMORY * before + (1 - _MEMORY) * now
