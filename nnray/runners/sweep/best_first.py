"""The trials of a sweep as a table, best first, as wide as the terminal allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rich.table import Table
from rich.text import Text

from nnray.runners.sweep.ledger import Ledger, Trial
from nnray.runners.sweep.words import ABSENT, all_paths, number, short_names, words

_FRAME, _NUMBER, _LEAST = 3, 6, 10
"""Characters around a cell; of a number; and of parameters that are worth showing."""
_TRIED = "tried"
"""Title of the parameters' common column: ``parameters`` is the name of an objective."""
_COLORS = {
    "running": "cyan",
    "finished": "green",
    "pruned": "yellow",
    "failed": "red",
    "interrupted": "red",
    "infeasible": "magenta",
}


def trial_table(ledger: Ledger, *, metric: str, width: int, rows: int, period: str = "epoch") -> Table:
    """The trials, best first.

    Args:
        ledger: What is known of them.
        metric: What they are judged by.
        width: Columns of the terminal. Where they are few, the parameters share one column, then
            go, as do the objectives after them; last the metric's name is cut.
        rows: Most rows to show; trials that are running are among them.
        period: What they are trained in: ``epoch`` or ``round``.
    """
    trials = _shown(ledger, rows)
    table = Table(title_justify="left", expand=False)
    columns = _fitting(trials, metric=metric, period=period, width=width)
    for column in columns:
        table.add_column(column.title, justify=column.justify, no_wrap=True, width=column.width)
    for place in range(len(trials)):
        table.add_row(*(Text(column.cells[place], style=column.style(place)) for column in columns))
    return table


@dataclass(frozen=True, slots=True)
class _Column:
    """A title, and a cell a trial."""

    title: str
    cells: Sequence[str]
    width: int
    justify: Literal["left", "right"] = "left"

    @classmethod
    def of(
        cls, title: str, trials: Sequence[Trial], cell: Callable[[Trial], str], *, least: int = 0
    ) -> _Column:
        cells = [cell(trial) for trial in trials]
        return cls(title, cells, max([least, len(title), *map(len, cells)]))

    @property
    def to_the_right(self) -> _Column:
        return replace(self, justify="right")

    def style(self, place: int) -> str:
        return _COLORS[self.cells[place]] if self.title == "state" else ""


def _fitting(trials: Sequence[Trial], *, metric: str, period: str, width: int) -> list[_Column]:
    """As many columns as there is room for."""
    fixed = _fixed(trials, metric, period=period)
    state = _Column.of("state", trials, state_of, least=len("finished"))
    objectives = _objectives(trials)
    everything = [*fixed, *objectives, state, *_parameters(trials)]
    if _width(everything) <= width:
        return everything
    line = _Column.of(_TRIED, trials, lambda trial: words(trial.params))
    for columns in ([*fixed, *objectives, state], [*fixed, state]):
        room = width - _width(columns)
        if room >= _FRAME + _LEAST:
            return [*columns, replace(line, width=min(line.width, room - _FRAME))]
        if room >= 0:
            return columns
    value = fixed[-1]
    return [*fixed[:-1], replace(value, width=max(_NUMBER, value.width + room)), state]


def _fixed(trials: Sequence[Trial], metric: str, *, period: str) -> list[_Column]:
    columns = (
        _Column.of("trial", trials, lambda trial: str(trial.number)),
        _Column.of(period, trials, lambda trial: str(trial.epoch)),
        _Column.of(metric, trials, lambda trial: number(trial.value)),
    )
    return [column.to_the_right for column in columns]


def _objectives(trials: Sequence[Trial]) -> list[_Column]:
    def column(name: str) -> _Column:
        return _Column.of(name, trials, lambda trial: number(trial.objectives.get(name, ABSENT)))

    return [column(name).to_the_right for name in all_paths(trial.objectives for trial in trials)]


def _parameters(trials: Sequence[Trial]) -> list[_Column]:
    def column(path: str, name: str) -> _Column:
        return _Column.of(name, trials, lambda trial: number(trial.params.get(path, ABSENT)), least=8)

    names = short_names(all_paths(trial.params for trial in trials))
    return [column(path, name) for path, name in names.items()]


def state_of(trial: Trial) -> str:
    """How a trial stands; ``infeasible`` where it has finished but breaks a constraint."""
    return "infeasible" if trial.state == "finished" and not trial.is_feasible else trial.state


def _width(columns: Sequence[_Column]) -> int:
    return sum(column.width + _FRAME for column in columns) + 1


def _shown(ledger: Ledger, rows: int) -> list[Trial]:
    """The best trials, and all that are running, in order."""
    ranked = ledger.ranked
    running = [trial for trial in ranked if trial.state == "running"]
    room = max(0, rows - len(running))
    others = {t.number for t in [trial for trial in ranked if trial.state != "running"][:room]}
    return [trial for trial in ranked if trial.state == "running" or trial.number in others][:rows]
