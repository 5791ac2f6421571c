"""The registered models, and what an experiment may name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nnray.cli.options import ExperimentFile, Json, Model, Quiet, Root, Tracking, Trust, print_result, running


def promote(
    model: Model,
    *,
    alias: Annotated[str, typer.Option("--as", metavar="ALIAS", help="Points to the model.")] = "champion",
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="To register it under; by default the one it has.", show_default=False
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(metavar="METRIC", help="What decides; by default test_accuracy.", show_default=False),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even if it is worse, or can't be compared.")
    ] = False,
    root: Root = Path("runs"),
    tracking: Tracking = None,
    trust: Trust = False,
    experiment: ExperimentFile = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Point an alias to a model, unless the present one is better on the same test data."""
    from nnray import api

    with running():
        result = api.promote(
            model,
            alias=alias,
            name=name,
            metric=metric,
            force=force,
            root=root,
            tracking=tracking,
            trust=trust,
            experiment=experiment,
        )
    print_result(result, as_json=as_json, quiet=quiet)


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Of one registered model.", show_default=False)
    ] = None,
    *,
    tracking: Tracking = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """List the registered models, newest first: aliases, metrics, runs."""
    from nnray import api

    with running():
        found = api.list_models(name, tracking=tracking)
    print_result(found, as_json=as_json, quiet=quiet)


def describe(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="models, datasets, ...", show_default=False)],
    name: Annotated[str, typer.Argument(metavar="NAME", help="As in the file.", show_default=False)],
    *,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Describe what an experiment may name: what it does, its parameters, its source."""
    from nnray import api

    print_result(api.describe(kind, name), as_json=as_json, quiet=quiet)
