"""How good a model is."""

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


def evaluate(
    model: Model,
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="PATH",
            help="Other labelled data: a folder CLASS/*, .csv, .parquet, .npz, or an experiment file.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        Literal["train", "val", "test"] | None,
        typer.Option("--split", help="By default test, or all of --data.", show_default=False),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Labels of a table; by default the model's.", show_default=False),
    ] = None,
    temperature: Annotated[
        bool, typer.Option("--temperature", help="Calibrate first, on the validation split.")
    ] = False,
    threshold_by: Annotated[
        Literal["accuracy", "balanced_accuracy", "f1"] | None,
        typer.Option(help="Of two classes: part them so, on the validation split.", show_default=False),
    ] = None,
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples for intervals; 0 for none.")] = 1000,
    wrong: Annotated[int, typer.Option(min=0, help="So many of the worst mistakes are shown.")] = 25,
    out: Out = None,
    root: Root = Path("runs"),
    tracking: Tracking = None,
    trust: Trust = False,
    experiment: ExperimentFile = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure a model: figures with intervals, curves, calibration, mistakes, and a model card."""
    from nnray import api

    with running():
        result = api.evaluate(
            model,
            data=data,
            split=split,
            label=label,
            temperature=temperature,
            threshold_by=threshold_by,
            bootstrap=bootstrap,
            wrong=wrong,
            out=out,
            root=root,
            tracking=tracking,
            trust=trust,
            experiment=experiment,
        )
    print_result(result, as_json=as_json, quiet=quiet)
