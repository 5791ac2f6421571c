"""What a page shows of a federated run beyond its curves: rounds, clients, and what failed."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nnray.config import Experiment, flatten
from nnray.errors import NnrayError
from nnray.runners.report.account import Account
from nnray.runners.report.dots import Dot, dot_chart
from nnray.runners.report.markup import Html, facts, fold, grid, join, notice, plain, table
from nnray.runners.report.page import Section

_MOST_ROWS = 400
_FIRST = (
    "test_accuracy",
    "test_loss",
    "val_accuracy",
    "val_loss",
    "train_loss",
    "cohort",
    "updates",
    "failures",
)
_TABLES = "clients.csv"


def clients(account: Account) -> Iterator[Section]:
    """The sections of a federated run."""
    if account.verb != "federate":
        return
    yield Section("Federation", join(_federation(account)))
    if account.history:
        yield Section("Rounds", _rounds(account))
    if account.failures or account.faults:
        yield Section("Failures", join(_failures(account)))
    if rows := _read_clients(account):
        yield Section("Clients", join(_clients(rows)))


def _federation(account: Account) -> Iterator[Html]:
    result, experiment = account.result, account.experiment
    known: dict[str, Any] = {}
    for name in ("strategy", "clients", "cohort", "rounds", "target"):
        if result.get(name):
            known[name.capitalize()] = result[name]
    if reached := account.metrics.get("rounds_to_target"):
        known["Target reached in round"] = int(reached)
    yield facts(known | _settings(experiment))


def _settings(experiment: Experiment | None) -> dict[str, str]:
    """How examples are shared out, and what is kept private, as the experiment has it."""
    if experiment is None or experiment.federated is None:
        return {}
    flat = flatten(experiment)
    found = dict[str, str]()
    for title, start in (("Partition", "federated.partition."), ("Privacy", "privacy.")):
        told = {
            path.removeprefix(start): v
            for path, v in flat.items()
            if path.startswith(start) and v is not None
        }
        if told:
            found[title] = plain(told)
    return found


def _rounds(account: Account) -> Html:
    names = [name for name in _FIRST if name in account.history]
    values = {name: dict(account.history[name]) for name in names}
    rounds = sorted({number for of_round in values.values() for number in of_round})
    every = -(-len(rounds) // _MOST_ROWS)
    shown = [number for at, number in enumerate(rounds) if at % every == 0 or number == rounds[-1]]
    caption = f"{len(rounds)} rounds" + (f"; every {every}th is shown" if every > 1 else "")
    rows = [[number, *(_whole(values[name].get(number)) for name in names)] for number in shown]
    return fold(caption, table(["round", *names], rows, caption="Rounds", sortable=True))


def _whole(value: float | None) -> float | None:
    """Counts are stored as fractions."""
    return int(value) if value is not None and value.is_integer() and abs(value) < 1e15 else value


def _failures(account: Account) -> Iterator[Html]:
    if account.failures:
        shown = account.failures[:_MOST_ROWS]
        rows = [[f["round"], f["client"], f["error"], f["fate"]] for f in shown]
        more = len(account.failures) - len(shown)
        caption = f"{len(account.failures)} failures of clients" + (
            f"; the first {len(shown)}" if more else ""
        )
        yield table(["round", "client", "error", "what was done"], rows, caption=caption, sortable=True)
        return
    rows = [[fault] for fault in account.faults[:_MOST_ROWS]]
    yield table(["what happened"], rows, caption=f"{len(account.faults)} faults")


def _read_clients(account: Account) -> list[dict[str, float | None]]:
    """A row a client, from the table that the run recorded."""
    if _TABLES not in account.files:
        return []
    try:
        text = account.files[_TABLES]().decode("utf-8", "replace")
    except (NnrayError, OSError):
        return []
    return [
        {name: _number(cell) for name, cell in row.items() if name}
        for row in csv.DictReader(io.StringIO(text))
    ]


def _number(cell: str | None) -> float | None:
    try:
        return _whole(float(cell or ""))
    except ValueError:
        return None


def _clients(rows: Sequence[Mapping[str, float | None]]) -> Iterator[Html]:
    sizes = [size for row in rows if (size := row.get("examples")) is not None]
    if sizes:
        middle = statistics.median(sizes)
        yield notice(
            f"{len(sizes)} clients took part; they hold {min(sizes):g} to {max(sizes):g} examples, "
            f"in the median {middle:g}."
        )
    dots = [
        Dot(float(size), float(loss), f"client {row.get('client')}: {size:g} examples, mean loss {loss:.4g}")
        for row in rows
        if (size := row.get("examples")) is not None and (loss := row.get("mean_loss")) is not None
    ]
    if len(dots) > 1:
        title = "Clients: the mean training loss by what they hold"
        yield grid([dot_chart({"client": dots}, title=title, x_label="examples", y_label="mean loss")])
    names = list(rows[0])
    shown = [[row.get(name) for name in names] for row in rows[:_MOST_ROWS]]
    caption = f"{len(rows)} clients" + (f"; the first {len(shown)}" if len(shown) < len(rows) else "")
    yield fold(caption, table(names, shown, caption="Clients", sortable=True))
