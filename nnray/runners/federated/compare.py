"""Several federated runs side by side: what each reached, at what cost in rounds, bytes and client steps."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnray.config import flatten
from nnray.durable import write_bytes
from nnray.errors import RunError
from nnray.metrics import better, mode_of
from nnray.runners.federated.curves import Curve, read_curve
from nnray.runners.folder import RunFolder
from nnray.runners.results import html_table

COLUMNS = ("run", "label", "rounds", "best", "in round", "last", "reached", "bytes", "client steps")
_NOT_TOLD = ("name", "tracking.", "federated.workers", "federated.cpus", "federated.gpus", "federated.rounds")
"""Fields that may differ between runs and don't change what comes of them, round by round."""
_MOST_TOLD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Federated runs side by side.

    Args:
        metric: What they are compared by.
        target: A value to reach: the one that was given, else what all of them reached.
        curves: The course of each, in the order that was given.
        png: The plot.
        html: The same as a page.
        table: The figures as CSV.
    """

    metric: str
    target: float
    curves: tuple[Curve, ...]
    png: Path
    html: Path
    table: Path

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """A line a run, as texts; see ``COLUMNS``."""
        return [_row(curve, self.target) for curve in self.curves]

    def summary(self) -> str:
        """A table, and where the files are."""
        lines = [COLUMNS[1:], *(row[1:] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = (
            "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines
        )
        what = f"{self.metric}; reached, bytes and client steps are those of {self.target:.4g}"
        return "\n".join([what, *map(str.rstrip, table), f"plot  {self.png}", f"page  {self.html}"])

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON can hold them."""
        runs = {
            curve.name: {
                "label": curve.label,
                "rounds": curve.rounds[-1],
                "best": curve.values[curve.best],
                "best_round": curve.rounds[curve.best],
                "last": curve.values[-1],
            }
            | _to_target(curve, self.target)
            for curve in self.curves
        }
        files = {"png": str(self.png), "html": str(self.html), "table": str(self.table)}
        return {"metric": self.metric, "target": self.target, "runs": runs} | files

    def _repr_png_(self) -> bytes:
        return self.png.read_bytes()

    def _repr_html_(self) -> str:
        rows = {curve.label: f"{curve.values[curve.best]:.4f}" for curve in self.curves}
        return html_table(f"best {self.metric}", rows)


def compare(runs: Sequence[RunFolder], *, metric: str, out: Path, target: float | None = None) -> Comparison:
    """Draw a metric of runs over rounds, over bytes and over client steps.

    Args:
        runs: Two or more federated ones; the same one twice counts once.
        metric: Of their rounds.
        out: Folder for the files; made if it is not there.
        target: A value to reach; None for the worst of the runs' best ones, which all of them reached.

    Raises:
        RunError: Fewer than two, one that is no federated run or has no such metric, or the folder can't be
            written.
    """
    runs = list({run.path: run for run in runs}.values())
    if len(runs) < 2:
        raise RunError(
            f"{len(runs)} run to compare: name two or more, such as the newest of `nnray jobs runs`"
        )
    labels = labels_of({run.name: flatten(run.experiment) for run in runs})
    curves = tuple(read_curve(run, metric=metric, label=labels[run.name]) for run in runs)
    target = _worst_best(curves) if target is None else target
    from nnray.runners.federated.page import write_page  # takes a second to import
    from nnray.runners.federated.plots import draw_comparison, write_png

    title = f"{metric} of {len(curves)} federated runs"
    png = write_png(draw_comparison(curves, title=title, target=target), out / "comparison.png")
    rows = [_row(curve, target) for curve in curves]
    page = write_page(out / "comparison.html", curves, title=title, columns=COLUMNS, rows=rows)
    table = out / "comparison.csv"
    write_bytes(table, _csv(rows))
    return Comparison(metric=metric, target=target, curves=curves, png=png, html=page, table=table)


def labels_of(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """A short label for each run: what its experiment sets that the others don't all set alike.

    Args:
        settings: Run to the fields of its experiment, by dotted path.
    """
    paths = list(dict.fromkeys(path for fields in settings.values() for path in fields))
    told = [path for path in paths if not path.startswith(_NOT_TOLD) and _differs(path, settings)]
    labels = {
        run: ", ".join(_words(path, fields[path]) for path in _first(told, fields))
        for run, fields in settings.items()
    }
    times = list(labels.values())
    return {
        run: label if label and times.count(label) == 1 else f"{label} ({run[-4:]})".strip()
        for run, label in labels.items()
    }


def _differs(path: str, settings: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether runs that have a field set it differently: of a key that one has alone its name tells."""
    return len({json.dumps(fields[path]) for fields in settings.values() if path in fields}) > 1


def _first(paths: Sequence[str], fields: Mapping[str, Any]) -> list[str]:
    """The first few that a run has and that say something; names of components before all others."""
    given = [path for path in paths if fields.get(path) is not None]
    return sorted(given, key=lambda path: not path.endswith(".name"))[:_MOST_TOLD]


def _words(path: str, value: Any) -> str:
    key = path.rpartition(".")[2]
    if key == "name":
        return str(value)
    return f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"


def _worst_best(curves: Sequence[Curve]) -> float:
    mode = mode_of(curves[0].metric)
    found = curves[0].values[curves[0].best]
    for curve in curves:
        value = curve.values[curve.best]
        found = found if better(mode, value, found) else value
    return found


def _to_target(curve: Curve, target: float) -> dict[str, float | None]:
    at = curve.first_to(target)
    costs = {"rounds": curve.rounds, "bytes": curve.bytes, "client_steps": curve.steps}
    return {f"{name}_to_target": None if at is None else cost[at] for name, cost in costs.items()}


def _row(curve: Curve, target: float) -> tuple[str, ...]:
    at = curve.first_to(target)
    reached = (
        ("no", "", "")
        if at is None
        else (f"round {curve.rounds[at]}", _bytes(curve.bytes[at]), f"{curve.steps[at]:,.0f}")
    )
    best = curve.best
    return (
        curve.name,
        curve.label,
        str(curve.rounds[-1]),
        f"{curve.values[best]:.4f}",
        str(curve.rounds[best]),
        f"{curve.values[-1]:.4f}",
        *reached,
    )


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([COLUMNS, *rows])
    return text.getvalue().encode()
