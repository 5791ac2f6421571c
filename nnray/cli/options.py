"""What the verbs of the command line share: their options, and how they run and end."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

File = Annotated[Path, typer.Argument(help="Experiment file (YAML).", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[PATH=VALUE]...", help="Fields to set, such as optimizer.lr=3e-3."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Root = Annotated[Path, typer.Option("--dir", help="The folder of the runs' folders.")]
Once = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Name the run; given again, go on with it.", show_default=False),
]
Address = Annotated[
    str | None,
    typer.Option(help="The head's dashboard, such as http://HEAD:8265.", show_default=False),
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.", show_default=False)]
Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="NAME, NAME@ALIAS or NAME/VERSION; a run's folder or id; a folder of a model's files.",
        show_default=False,
    ),
]
Tracking = Annotated[
    str | None,
    typer.Option(
        "--tracking", metavar="URI", help="The store; by default this folder's.", show_default=False
    ),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Open also what runs its maker's code: pickles, functions it names.")
]
ExperimentFile = Annotated[
    Path | None,
    typer.Option("--experiment", metavar="FILE", help="Of weights that don't say.", show_default=False),
]
Out = Annotated[
    Path | None, typer.Option("--out", help="Where files go; by default below the run.", show_default=False)
]
Resize = Annotated[bool, typer.Option("--resize", help="Scale pictures to the model's size.")]
Json = Annotated[bool, typer.Option("--json", help="The last line of stdout is one JSON object.")]


class Stopped(Exception):
    """An interrupt on its way through typer, which would swallow what it says."""


@contextlib.contextmanager
def running(*, redirect: bool = True, progress: bool = False) -> Iterator[None]:
    """Send whatever libraries print to stderr: stdout is for results; show progress there if asked to."""
    try:
        with (
            contextlib.redirect_stdout(sys.stderr) if redirect else contextlib.nullcontext(),
            _progress() if progress else contextlib.nullcontext(),
        ):
            yield
    except KeyboardInterrupt as interrupt:
        raise Stopped(str(interrupt) or "interrupted") from interrupt


@contextlib.contextmanager
def _progress() -> Iterator[None]:
    """Show on stderr how far a verb has come."""
    logger, handler = logging.getLogger("nnray.progress"), logging.StreamHandler(sys.stderr)
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class Printed(Protocol):
    """What a verb came to."""

    def summary(self) -> str:
        """For people."""

    def to_dict(self) -> dict[str, Any]:
        """For scripts."""


def print_result(result: Printed, *, as_json: bool = False, quiet: bool = False) -> None:
    """Print what a verb came to: for people, or one line for scripts and the rest on stderr."""
    if not as_json:
        typer.echo(result.summary())
        return
    if not quiet:
        typer.echo(result.summary(), err=True)
    typer.echo(json.dumps(result.to_dict(), sort_keys=True))
