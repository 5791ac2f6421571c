"""The registered models as a table that fits a window of 80 columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from nnray.tracking.registry import Version, list_models
from nnray.tracking.store import resolve_uri

_WIDTH, _GAP, _SHA = 80, "  ", 8
_LEAST = {1: 8, 0: 12}
"""Characters that aliases, which give way first, and model keep."""
_METRICS = ("accuracy", "f1_macro", "loss")
_TITLES = ("model", "alias", "val", "test", "weights", "sha256", "registered")


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """What is registered.

    Args:
        tracking_uri: Of the store.
        models: Newest first.
    """

    tracking_uri: str
    models: Sequence[Version]

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them; a value that is no number is null."""
        return {"tracking_uri": self.tracking_uri, "models": [_plain(version) for version in self.models]}

    def summary(self) -> str:
        """Two lines a version, or what to do where there is none."""
        if not self.models:
            return (
                f"no model is registered in {self.tracking_uri}\n"
                "`nnray train FILE` registers what it trains; --tracking URI looks in another store"
            )
        rows = [_cells(version) for version in self.models]
        widths = _widths([_TITLES, *rows])
        lines = [_line(_TITLES, widths)]
        for version, cells in zip(self.models, rows, strict=True):
            lines += [_line(cells, widths), *_details(version)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from html import escape

        rows = [_TITLES, *(_cells(version) for version in self.models)]
        cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def list_registered(name: str | None = None, *, tracking: str | None = None) -> Models:
    """List registered models.

    Args:
        name: Of one; None for all.
        tracking: The store; None as for a run.

    Raises:
        RunError: There is no such name.
        TrackingError: The store can't be asked.
    """
    uri = resolve_uri(tracking)
    return Models(tracking_uri=uri, models=list_models(uri, name))


def _cells(version: Version) -> tuple[str, ...]:
    metric, metrics = _main(version.metrics), version.metrics
    made = datetime.fromtimestamp(version.made_ms / 1000).astimezone()
    return (
        version.reference,
        ", ".join(version.aliases) or "-",
        *(_number(metrics.get(f"{part}_{metric}")) for part in ("val", "test")),
        "-" if version.num_weights is None else _short(version.num_weights),
        version.sha256[:_SHA] or "-",
        f"{made:%Y-%m-%d %H:%M}",
    )


def _details(version: Version) -> list[str]:
    """The run, the metric if it isn't the accuracy, and what `nnray evaluate` has found."""
    metric = _main(version.metrics)
    said = [f"run {version.run or version.run_id}"] if version.run_id else []
    said += [f"val and test: {metric}"] if metric not in ("", "accuracy") else []
    found = (f"evaluate.{part}{metric}" for part in ("test.", "val.", "data.", ""))
    said += [f"{name} {version.metrics[name]:.4f}" for name in found if name in version.metrics]
    lines: list[str] = []
    for each in said:
        if lines and len(lines[-1]) + len(_GAP) + len(each) <= _WIDTH:
            lines[-1] += _GAP + each
        else:
            lines.append(f"    {each}")
    return lines


def _main(metrics: Mapping[str, float]) -> str:
    """The metric that says most of those that a version has."""
    there = {
        name.removeprefix("val_").removeprefix("test_")
        for name in metrics
        if name.startswith(("val_", "test_"))
    }
    return next((name for name in _METRICS if name in there), min(there, default=""))


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Of the columns: as wide as their cells, but model and aliases share what the others leave."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(_TITLES))]
    over = sum(widths) + len(_GAP) * (len(widths) - 1) - _WIDTH
    for place, least in _LEAST.items():
        cut = min(max(0, over), max(0, widths[place] - least))
        widths[place] -= cut
        over -= cut
    return widths


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    parts = [
        cell.rjust(width) if place in (2, 3, 4) else _cut(cell, width).ljust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return _GAP.join(parts).rstrip()


def _cut(text: str, width: int) -> str:
    """A text without its middle where it is too long: a version stands at its end."""
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def _short(count: int) -> str:
    """A count in seven characters."""
    if count < 1_000_000:
        return f"{count:,}"
    return f"{count / 1e6:.1f} M" if count < 1e9 else f"{count / 1e9:.1f} G"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}" if abs(value) < 1000 else f"{value:.3g}"


def _plain(version: Version) -> dict[str, Any]:
    fields = asdict(version) | {"aliases": list(version.aliases), "model": version.reference}
    fields["metrics"] = {name: _finite(value) for name, value in sorted(version.metrics.items())}
    return fields


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
