"""A run as one page."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from nnray.cli.options import Json, Root, Tracking, print_result, running

Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run's folder, by name or path, its MLflow id, or a registered model (NAME, NAME@ALIAS).",
        show_default=False,
    ),
]
Page = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="FILE", help="By default report.html in the run's folder.", show_default=False
    ),
]


def report(
    run: Run,
    *,
    out: Page = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    root: Root = Path("runs"),
    tracking: Tracking = None,
    as_json: Json = False,
) -> None:
    """Write one HTML page on a run, a sweep or a federated run; it needs no network."""
    from nnray import api

    with running():
        written = api.report(run, root=root, tracking=tracking, out=out)
    if show:
        webbrowser.open(Path(written.files[0]).as_uri())
    print_result(written, as_json=as_json)
