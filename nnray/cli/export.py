"""A trained model in a format for others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nnray.cli.options import (
    ExperimentFile,
    Json,
    Model,
    Out,
    Quiet,
    Root,
    Tracking,
    Trust,
    print_result,
    running,
)


def export(
    model: Model,
    *,
    to: Annotated[
        Literal["torch-export", "onnx", "safetensors"],
        typer.Option("--format", help="A graph for torch, one for others, or weights.", show_default=False),
    ],
    opset: Annotated[
        int | None,
        typer.Option(help="Of ONNX's operators; by default the exporter's choice.", show_default=False),
    ] = None,
    out: Out = None,
    root: Root = Path("runs"),
    tracking: Tracking = None,
    trust: Trust = False,
    experiment: ExperimentFile = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Write a model in another format; what was written is run against the model."""
    from nnray import api

    with running():
        result = api.export(
            model,
            to=to,
            opset=opset,
            out=out,
            root=root,
            tracking=tracking,
            trust=trust,
            experiment=experiment,
        )
    print_result(result, as_json=as_json, quiet=quiet)
