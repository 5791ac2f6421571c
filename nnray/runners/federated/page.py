"""A comparison of federated runs as one HTML page, interactive, that needs no network."""

from __future__ import annotations

import html
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nnray.durable import write_bytes
from nnray.runners.federated.curves import Curve
from nnray.runners.federated.plots import AXES, COLORS

_DASHES = ("solid", "dash", "dashdot", "dot")
_MARKS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x")
_STYLE = "body{font-family:sans-serif;margin:2em}td,th{padding:.2em .8em;text-align:right}"
_LONGEST = 300
"""Points a curve that get marks: more run into each other."""


def write_page(
    path: Path, curves: Sequence[Curve], *, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> Path:
    """Write the page: curves over rounds, bytes and client steps, and the table; its path comes back.

    Args:
        path: Where to.
        curves: Of the same metric.
        title: Above them.
        columns: Of the table.
        rows: Of the table, a run each.
    """
    figure = _figure(curves)
    safe = html.escape(title)
    parts = [
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{safe}</title>",
        f"<style>{_STYLE}</style></head><body><h1>{safe}</h1>",
        figure.to_html(full_html=False, include_plotlyjs=True),
        _table(columns, rows),
        "</body></html>",
    ]
    write_bytes(path, "\n".join(parts).encode())
    return path


def _figure(curves: Sequence[Curve]) -> go.Figure:
    figure = make_subplots(rows=1, cols=len(AXES), shared_yaxes=True)
    styles = zip(curves, cycle(COLORS), cycle(_DASHES), cycle(_MARKS))
    for curve, color, dash, mark in styles:
        for place, (field, _) in enumerate(AXES, start=1):
            line = go.Scatter(
                x=getattr(curve, field),
                y=curve.values,
                name=curve.label,
                legendgroup=curve.name,
                showlegend=place == 1,
                mode="lines+markers" if len(curve.values) <= _LONGEST else "lines",
                line={"color": color, "dash": dash},
                marker={"symbol": mark, "size": 6},
            )
            figure.add_trace(line, row=1, col=place)
    for place, (_, name) in enumerate(AXES, start=1):
        figure.update_xaxes(title_text=name, row=1, col=place)
    figure.update_yaxes(title_text=curves[0].metric, row=1, col=1)
    figure.update_layout(template="plotly_white", height=520, legend={"orientation": "h", "y": -0.2})
    return figure


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
