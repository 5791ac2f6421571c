"""Classes or numbers for new inputs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal, TextIO

import typer

from nnray.cli.options import (
    ExperimentFile,
    Json,
    Model,
    Quiet,
    Resize,
    Root,
    Tracking,
    Trust,
    print_result,
    running,
)

Inputs = Annotated[
    list[Path],
    typer.Argument(
        metavar="INPUT",
        help="Pictures, .csv, .parquet, .npz (array x) and .txt files (a text a line), and folders of them.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", help="A .csv, .json or .parquet file; by default CSV on stdout.", show_default=False
    ),
]
FileFormat = Annotated[
    Literal["csv", "json", "parquet"] | None,
    typer.Option("--format", help="Where the file's name doesn't say.", show_default=False),
]
Probabilities = Annotated[bool, typer.Option("--probabilities", help="Give those of all classes.")]
Threshold = Annotated[
    float | None,
    typer.Option(
        help="Of two classes: from which probability on the second is told; by default the likelier.",
        show_default=False,
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Inputs at a time.")]
Label = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN", help="Column to pass over; by default the experiment's.", show_default=False
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(metavar="A,B,...", help="Columns to take, in the model's order.", show_default=False),
]
Skip = Annotated[bool, typer.Option("--skip-unreadable", help="Pass over what can't be read.")]
OnRay = Annotated[
    bool, typer.Option("--ray", help="Use the cluster at RAY_ADDRESS, or all cores of this machine.")
]


def predict(
    model: Model,
    inputs: Inputs,
    *,
    out: Out = None,
    file_format: FileFormat = None,
    probabilities: Probabilities = False,
    threshold: Threshold = None,
    batch_size: BatchSize = 256,
    label: Label = None,
    columns: Columns = None,
    resize: Resize = False,
    skip_unreadable: Skip = False,
    ray: OnRay = False,
    root: Root = Path("runs"),
    tracking: Tracking = None,
    trust: Trust = False,
    experiment: ExperimentFile = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Say the class of new inputs with its confidence, or the number, of each in their order."""
    from nnray import api

    if as_json and out is None:
        raise typer.BadParameter("--json tells of a file: name one with --out")
    stdout = sys.stdout
    with running(), _reader_may_leave(stdout):
        result = api.predict(
            model,
            inputs,
            out=stdout if out is None else out,
            file_format=file_format,
            batch_size=batch_size,
            probabilities=probabilities,
            threshold=threshold,
            label=label,
            columns=columns.split(",") if columns else (),
            resize=resize,
            skip_unreadable=skip_unreadable,
            on_ray=ray,
            root=root,
            tracking=tracking,
            trust=trust,
            experiment=experiment,
        )
    if out is None:
        if not quiet:
            typer.echo(result.summary(), err=True)
    elif as_json or not quiet:
        print_result(result, as_json=as_json, quiet=quiet)


@contextmanager
def _reader_may_leave(stdout: TextIO) -> Iterator[None]:
    """End without a word where whoever reads stdout, such as ``head``, has had enough."""
    try:
        yield
        print(end="", file=stdout, flush=True)
    except BrokenPipeError:
        # Python flushes stdout once more as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise typer.Exit(1) from None
