"""A smaller model out of a trained one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    list[str],
    typer.Option(
        metavar="NAME[:KEY=VALUE,...]",
        help="magnitude, channels, low_rank, distill, int8; given again, the next one.",
        show_default=False,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(min=0, help="To train after each; by default 0, for a student all.", show_default=False),
]
Lr = Annotated[
    float | None,
    typer.Option(help="By default a tenth of the experiment's; a student's all.", show_default=False),
]
Student = Annotated[
    list[str] | None,
    typer.Option(metavar="PATH=VALUE|FILE", help="For distill: who learns.", show_default=False),
]
Target = Annotated[
    str | None,
    typer.Option(
        metavar="NAME=NUMBER",
        help="Find the strength: flops=0.5, bytes=0.3, latency=0.5, accuracy=-0.005.",
        show_default=False,
    ),
]
Register = Annotated[
    str | None, typer.Option(metavar="NAME", help="Register the new model.", show_default=False)
]


def compress(
    model: Model,
    *,
    method: Methods,
    epochs: Epochs = None,
    lr: Lr = None,
    student: Student = None,
    target: Target = None,
    register: Register = None,
    out: Out = None,
    root: Root = Path("runs"),
    tracking: Tracking = None,
    trust: Trust = False,
    experiment: ExperimentFile = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Make a model smaller and faster; what that costs is measured."""
    from nnray import api

    with running(progress=not quiet):
        result = api.compress(
            model,
            method,
            epochs=epochs,
            lr=lr,
            student=student or (),
            target=target,
            register=register,
            root=root,
            tracking=tracking,
            trust=trust,
            experiment=experiment,
            out=out,
        )
    print_result(result, as_json=as_json, quiet=quiet)
