"""Why a model says what it says."""

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
    Resize,
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
        help="Of `nnray list explainers`, integrated_gradients if none; may be given again.",
        show_default=False,
    ),
]
Inputs = Annotated[
    list[Path] | None,
    typer.Option("--inputs", help="A file or folder to explain; may be given again.", show_default=False),
]
Split = Annotated[Literal["train", "val", "test"], typer.Option(help="Or examples of this split:")]
Index = Annotated[
    str | None, typer.Option(metavar="3,17", help="those at these places, from 0;", show_default=False)
]
Wrong = Annotated[
    int | None,
    typer.Option(min=1, max=256, help="or so many that are wrong with most confidence.", show_default=False),
]
Target = Annotated[
    str | None,
    typer.Option(metavar="CLASS", help="To be explained; by default the model's.", show_default=False),
]
Check = Annotated[bool, typer.Option("--check/--no-check", help="Compare with a model of random weights.")]
Seed = Annotated[int, typer.Option(min=0, help="Of what explainers draw.")]


def explain(
    model: Model,
    *,
    method: Methods = None,
    inputs: Inputs = None,
    split: Split = "test",
    index: Index = None,
    wrong: Wrong = None,
    target: Target = None,
    resize: Resize = False,
    check: Check = True,
    seed: Seed = 0,
    out: Out = None,
    root: Root = Path("runs"),
    tracking: Tracking = None,
    trust: Trust = False,
    experiment: ExperimentFile = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Say which parts of its inputs a model's answers rest on, in pictures."""
    from nnray import api

    places = _places(index)
    with running(progress=not quiet):
        found = api.explain(
            model,
            method or "integrated_gradients",
            inputs=inputs or (),
            split=split,
            index=places,
            wrong=wrong,
            target=target,
            resize=resize,
            check=check,
            seed=seed,
            out=out,
            root=root,
            tracking=tracking,
            trust=trust,
            experiment=experiment,
        )
    print_result(found, as_json=as_json, quiet=quiet)


def _places(index: str | None) -> list[int]:
    try:
        return [] if index is None else [int(place) for place in index.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--index takes whole numbers, such as 3,17 (got {index!r})") from None
