"""Plots of a sweep as PNG files, drawn without a browser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from nnray.runners.sweep.plots.family import lineage, parameters
from nnray.runners.sweep.plots.history import history, importance
from nnray.runners.sweep.plots.parallel import parallel
from nnray.runners.sweep.plots.pareto import pareto
from nnray.runners.sweep.plots.picture import Picture
from nnray.runners.sweep.plots.slices import rank, slices

__all__ = ["Picture", "write_plots"]

_DPI = 120
_PLOTS: Mapping[str, Callable[[Picture], Figure | None]] = {
    "history": history,
    "importance": importance,
    "parallel_coordinates": parallel,
    "slices": slices,
    "rank": rank,
    "pareto_front": pareto,
    "lineage": lineage,
    "lineage_parameters": parameters,
}


def write_plots(folder: Path, picture: Picture) -> list[Path]:
    """Draw all plots that there is enough to see in; their paths come back."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in _PLOTS.items():
        figure = draw(picture)
        if figure is not None:
            path = folder / f"{name}.png"
            figure.savefig(path, dpi=_DPI)
            written.append(path)
    return written
