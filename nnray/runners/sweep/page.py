"""Plots of a sweep as one HTML page, interactive, that needs no network."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna

from nnray.durable import write_bytes

_HEAD = "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{title}</title></head><body>"


def write_page(path: Path, study: optuna.Study, *, metric: str) -> Path | None:
    """Write the page; None where there is nothing to see.

    Args:
        path: Where to.
        study: With finished trials only.
        metric: What was searched for.
    """
    if not study.get_trials(deepcopy=False):
        return None
    title = f"<h1>{study.study_name}</h1>"
    parts = [_HEAD.format(title=study.study_name), title, *_figures(study, metric), "</body></html>"]
    write_bytes(path, "\n".join(parts).encode())
    return path


def _figures(study: optuna.Study, metric: str) -> Iterator[str]:
    """Each figure as HTML; the first brings the library for all."""
    from optuna import visualization

    makers: list[Any] = [visualization.plot_optimization_history]
    if len(study.get_trials(deepcopy=False)) > 1:
        makers += [
            visualization.plot_param_importances,
            visualization.plot_parallel_coordinate,
            visualization.plot_slice,
        ]
    library: bool | str = True
    for make in makers:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                figure = make(study, target_name=metric)
            except (ValueError, RuntimeError):
                continue
        yield figure.to_html(full_html=False, include_plotlyjs=library)
        library = False
