"""A trained model as an HTTP service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nnray.cli.options import ExperimentFile, Model, Root, Tracking, Trust, running


def serve(
    model: Model,
    *,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0: all of this machine's.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any that is free.")] = 8080,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Examples of a forward pass; requests that wait share one.")
    ] = 64,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Of a forward pass; by default torch's choice.", show_default=False),
    ] = None,
    max_body: Annotated[float, typer.Option(metavar="MIB", help="Size of a request's body.")] = 16.0,
    max_examples: Annotated[int, typer.Option(min=1, help="Of a request.")] = 10_000,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Of two classes: from which probability on the second is told; by default the likelier.",
            show_default=False,
        ),
    ] = None,
    root: Root = Path("runs"),
    tracking: Tracking = None,
    trust: Trust = False,
    experiment: ExperimentFile = None,
) -> None:
    """Answer HTTP requests with a model's predictions, in MLflow's protocol."""
    from nnray import api

    with running():
        api.serve(
            model,
            host=host,
            port=port,
            batch_size=batch_size,
            threads=threads,
            max_body_mib=max_body,
            max_examples=max_examples,
            threshold=threshold,
            root=root,
            tracking=tracking,
            trust=trust,
            experiment=experiment,
        )
