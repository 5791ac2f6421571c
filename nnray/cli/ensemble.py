"""Several trained models made into one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nnray.cli.options import Json, Quiet, Root, Tracking, Trust, print_result, running


def ensemble(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            help="A sweep's folder or id, for its best trials; or models by any name: two or more.",
            show_default=False,
        ),
    ],
    *,
    combine: Annotated[
        Literal["mean", "vote", "stack", "select", "soup", "uniform_soup"],
        typer.Option(help="How members become one."),
    ] = "mean",
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Best trials of a sweep that came to their end; by default 5, or all for select, soup.",
            show_default=False,
        ),
    ] = None,
    test: Annotated[bool, typer.Option(help="Measure on the test split.")] = True,
    register: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Register as; by default the experiment's name.", show_default=False
        ),
    ] = None,
    alias: Annotated[str, typer.Option(help="Points to it under that name.")] = "candidate",
    root: Root = Path("runs"),
    tracking: Tracking = None,
    trust: Trust = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make one model of the best trials of a sweep, or of several models."""
    from nnray import api

    with running():
        result = api.ensemble(
            models,
            combine=combine,
            top=top,
            test=test,
            register=register,
            alias=alias,
            root=root,
            tracking=tracking,
            trust=trust,
        )
    print_result(result, as_json=as_json, quiet=quiet)
