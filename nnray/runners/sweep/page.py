"""Plots of a sweep as one HTML page, interactive, that needs no network."""

from __future__ import annotations

import html
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nnray.durable import write_bytes
from nnray.runners.sweep.figures import history, lineage, parallel
from nnray.runners.sweep.findings import COMPLETE
from nnray.runners.sweep.optuna_figures import OptunaFigures
from nnray.runners.sweep.plots import Picture
from nnray.runners.sweep.study import Study

_STYLE = "body { font-family: sans-serif; margin: 2em } h2 { margin-top: 2em }"

Maker = Callable[[], Any]
"""Makes a figure of plotly."""
Section = tuple[str, Sequence[Maker]]
"""A heading, and what makes the figures below it."""


def write_page(path: Path, picture: Picture, *, study: Study) -> Path | None:
    """Write the page; None where there is nothing to see.

    Args:
        path: Where to.
        picture: What to show.
        study: The same trials, as Optuna has them.
    """
    if not study.with_pruned().get_trials(deepcopy=False, states=COMPLETE):
        return None
    title = html.escape(study.inner.study_name)
    head = f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title>"
    body = _html(_sections(picture, study))
    parts = [head, f"<style>{_STYLE}</style></head><body><h1>{title}</h1>", *body, "</body></html>"]
    write_bytes(path, "\n".join(parts).encode())
    return path


def _html(sections: Iterable[Section]) -> Iterator[str]:
    """Headings and figures; the first figure brings the library for all."""
    library: bool | str = True
    for heading, makers in sections:
        yield f"<h2>{html.escape(heading)}</h2>"
        for make in makers:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    figure = make()
                except (ValueError, RuntimeError):
                    continue
            yield figure.to_html(full_html=False, include_plotlyjs=library)
            library = False


def _sections(picture: Picture, study: Study) -> Iterator[Section]:
    metric, ledger = picture.goal.metric, picture.ledger
    by_metric = OptunaFigures(study.with_pruned(), picture, metric)
    whole: list[Maker] = [partial(history, picture), by_metric.importances, partial(parallel, picture)]
    yield metric, [*whole, *_by_parameter(by_metric)]
    others = [
        OptunaFigures(study.inner, picture, name, place)
        for place, name in enumerate(picture.goal.objectives, start=1)
    ]
    if ledger.front:
        yield "Pareto front", [figures.front for figures in others]
    for figures in others:
        yield figures.name, [figures.importances, *_by_parameter(figures)]
    if any(trial.lineage for trial in ledger.trials.values()):
        yield "Lineage", [partial(lineage, picture)]


def _by_parameter(figures: OptunaFigures) -> list[Maker]:
    slices: list[Maker] = [partial(figures.slices, row) for row in figures.rows]
    return [*slices, figures.rank]
