"""What a model withstands: attacks and corruptions."""

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

Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="NAME[:KEY=VALUE,...]",
        help="fgsm, pgd, mim, deepfool, square; several, each by its own --method. By default pgd.",
        show_default=False,
    ),
]
Epsilons = Annotated[
    str | None,
    typer.Option(
        "--epsilon",
        metavar="E,...",
        help="Bounds: pixel values from 0 to 1, or standard deviations of a table's features.",
        show_default=False,
    ),
]
Norm = Annotated[
    Literal["linf", "l2"] | None, typer.Option(help="How a move is measured.", show_default=False)
]
Steps = Annotated[int | None, typer.Option(help="Of each attack.", show_default=False)]
Restarts = Annotated[int | None, typer.Option(help="Of each attack.", show_default=False)]
Corruptions = Annotated[
    str | None,
    typer.Option(
        metavar="all|NAME,...", help="Corrupt images: noise, blur, light, shifts, jpeg.", show_default=False
    ),
]
Baseline = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="Errors on corrupted images are relative to its.", show_default=False),
]
Split = Annotated[Literal["test", "val", "train"], typer.Option(help="Whose examples.")]
Limit = Annotated[int, typer.Option(min=0, help="Its first examples; 0 for all.")]
BatchSize = Annotated[
    int | None,
    typer.Option(min=1, help="Examples at a time; by default the experiment's.", show_default=False),
]
Seed = Annotated[int, typer.Option(help="Of all draws.")]


def attack(
    model: Model,
    *,
    method: Methods = None,
    epsilon: Epsilons = None,
    norm: Norm = None,
    steps: Steps = None,
    restarts: Restarts = None,
    corruptions: Corruptions = None,
    baseline: Baseline = None,
    split: Split = "test",
    limit: Limit = 1000,
    batch_size: BatchSize = None,
    seed: Seed = 0,
    out: Out = None,
    root: Root = Path("runs"),
    tracking: Tracking = None,
    trust: Trust = False,
    experiment: ExperimentFile = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure accuracy under attack, and on corrupted images."""
    from nnray import api

    with running(progress=not quiet):
        result = api.attack(
            model,
            method=method or (),
            epsilon=_numbers(epsilon),
            norm=norm,
            steps=steps,
            restarts=restarts,
            corruptions=corruptions.split(",") if corruptions else (),
            baseline=baseline,
            split=split,
            limit=limit or None,
            batch_size=batch_size,
            seed=seed,
            root=root,
            tracking=tracking,
            trust=trust,
            experiment=experiment,
            out=out,
        )
    print_result(result, as_json=as_json, quiet=quiet)


def _numbers(text: str | None) -> list[float]:
    try:
        return [float(part) for part in text.split(",")] if text else []
    except ValueError:
        raise typer.BadParameter(f"--epsilon must be numbers parted by commas (got {text!r})") from None
