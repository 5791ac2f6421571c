"""Federated runs: train one, look at its clients beforehand, compare several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nnray.cli.options import File, Json, Once, Overrides, Quiet, Root, print_result, running


def federate(
    file: File,
    overrides: Overrides = None,
    *,
    once: Once = None,
    report_partition: Annotated[
        bool, typer.Option("--report-partition", help="Show how the clients differ, and train nothing.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for that report's files.", show_default=False)
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train one network by clients that keep their examples, in rounds."""
    if out and not report_partition:
        raise typer.BadParameter("--out is for --report-partition: give both, or neither")
    if once and report_partition:
        raise typer.BadParameter("--once names a run, and --report-partition begins none: leave one out")
    from nnray import api

    if report_partition:
        with running():
            report = api.report_partition(file, overrides or [], out=out)
        typer.echo(json.dumps(report.to_dict()) if as_json else report.summary())
        return
    with running():
        result = api.federate(file, overrides or [], once=once, quiet=quiet)
    print_result(result, as_json=as_json, quiet=quiet)


def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Runs' folders or MLflow ids.", show_default=False)
    ],
    *,
    metric: Annotated[str, typer.Option(help="Of the rounds.")] = "test_accuracy",
    target: Annotated[
        float | None,
        typer.Option(help="Say what it took to reach this; by default what all did.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for plot, page and table.")] = Path("comparison"),
    root: Root = Path("runs"),
    as_json: Json = False,
) -> None:
    """Draw federated runs over rounds, over bytes sent, and over client steps."""
    from nnray import api

    with running():
        found = api.compare(runs, metric=metric, target=target, root=root, out=out)
    typer.echo(json.dumps(found.to_dict()) if as_json else found.summary())
