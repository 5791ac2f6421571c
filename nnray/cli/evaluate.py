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

Data = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="Other labelled data: a folder CLASS/*, .csv, .parquet, .npz, or an experiment file.",
        show_default=False,
    ),
]
Split = Annotated[
    Literal["train", "val", "test"] | None,
    typer.Option(help="By default test, or all of --data.", show_default=False),
]
Label = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Labels of a table; by default the model's.", show_default=False),
]
Temperature = Annotated[bool, typer.Option("--temperature", help="Calibrate first, on the validation split.")]
ThresholdBy = Annotated[
    Literal["accuracy", "balanced_accuracy", "f1"] | None,
    typer.Option(help="Of two classes: part them so, on the validation split.", show_default=False),
]
Bootstrap = Annotated[int, typer.Option(min=0, help="Resamples for intervals; 0 for none.")]
Wrong = Annotated[int, typer.Option(min=0, help="So many of the worst mistakes are shown.")]


def evaluate(
    model: Model,
    *,
    data: Data = None,
    split: Split = None,
    label: Label = None,
    temperature: Temperature = False,
    threshold_by: ThresholdBy = None,
    bootstrap: Bootstrap = 1000,
    wrong: Wrong = 25,
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
