"""The command line: reads arguments, calls a verb, prints what it gave.

Nothing heavy is imported before a verb needs it: ``nnray --help`` answers at once.
"""

from __future__ import annotations

import errno
import json
import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import Exit, TyperException

from nnray import __version__
from nnray.cli.attack import attack
from nnray.cli.compress import compress
from nnray.cli.ensemble import ensemble
from nnray.cli.evaluate import evaluate
from nnray.cli.explain import explain
from nnray.cli.export import export
from nnray.cli.federated import compare, federate
from nnray.cli.jobs import doctor, jobs, submit
from nnray.cli.options import File, Json, Once, Overrides, Quiet, Root, Stopped, print_result, running
from nnray.cli.predict import predict
from nnray.cli.privacy import privacy
from nnray.cli.registry import describe, models, promote
from nnray.cli.report import report
from nnray.cli.serve import serve
from nnray.errors import ClientFailure, DivergedError, NnrayError

app = typer.Typer(
    name="nnray",
    help="Train and tune PyTorch networks on Ray; every run is recorded in MLflow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"nnray {__version__}")
        raise Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every verb; ``main`` reads ``--debug`` itself."""


@app.command()
def train(
    file: File,
    overrides: Overrides = None,
    *,
    once: Once = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train one network, test it, and record it with its model."""
    from nnray import api

    with running():
        result = api.train(file, overrides or [], once=once, quiet=quiet)
    print_result(result, as_json=as_json, quiet=quiet)


@app.command()
def sweep(
    file: File,
    overrides: Overrides = None,
    *,
    of: Annotated[
        str | None,
        typer.Option("--of", help="What a trial is: train, or federate; as sweep.of.", show_default=False),
    ] = None,
    warm_start: Annotated[
        str | None,
        typer.Option(
            "--warm-start", metavar="RUN", help="An earlier sweep to begin from.", show_default=False
        ),
    ] = None,
    once: Once = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Search the space in the file's sweep section; every trial is recorded with its model."""
    from nnray import api

    with running():
        chosen = [*(overrides or []), *([f"sweep.of={of}"] if of else [])]
        result = api.sweep(file, chosen, warm_start=warm_start, once=once, quiet=quiet)
    print_result(result, as_json=as_json, quiet=quiet)


app.command()(federate)
app.command()(compare)
app.command()(privacy)
app.command()(evaluate)
app.command()(explain)
app.command()(ensemble)
app.command()(report)
app.command()(attack)
app.command()(predict)
app.command()(compress)
app.command()(serve)
app.command()(export)
app.command()(promote)
app.command()(models)


@app.command()
def resume(
    run: Annotated[
        str | None, typer.Argument(help="MLflow run id, or a run's folder.", show_default=False)
    ] = None,
    *,
    last: Annotated[bool, typer.Option("--last", help="The newest run.")] = False,
    root: Root = Path("runs"),
    trials: Annotated[
        str | None,
        typer.Option(metavar="N|+N", help="Trials that a sweep shall have; +N more.", show_default=False),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0, help="Workers that a parallel or federated run goes on with.", show_default=False
        ),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Go on with an interrupted run, exactly where it stood."""
    from nnray import api

    if (run is None) != last:
        raise typer.BadParameter("name a run, or give --last: one of the two")
    with running():
        result = api.resume(run, root=root, trials=trials, workers=workers, quiet=quiet)
    print_result(result, as_json=as_json, quiet=quiet)


@app.command()
def sync(*, root: Root = Path("runs")) -> None:
    """Send the tracking store what runs could not: after an outage, or a kill."""
    from nnray import api

    with running():
        done = api.sync(root)
    for synced in done:
        typer.echo(str(synced))
    if not done:
        typer.echo(f"all records of the runs in {root} have been sent")
    if any(synced.left or synced.problem for synced in done):
        raise Exit(1)


@app.command()
def check(file: File, overrides: Overrides = None) -> None:
    """Check an experiment file; says all that is wrong, and runs nothing of it."""
    from nnray import api

    experiment = api.load(file, overrides or [])
    typer.echo(f"{file}: ok: {experiment.model.name} on {experiment.data.name}")


@app.command()
def schema() -> None:
    """Print the JSON schema of experiment files, for editors."""
    from nnray import api

    typer.echo(json.dumps(api.schema(), indent=2))


@app.command("list")
def list_names(
    kind: Annotated[
        str | None, typer.Argument(help="models, datasets, optimizers, ...", show_default=False)
    ] = None,
) -> None:
    """List what an experiment may name, a line each; what is of one kind, with its parameters."""
    from nnray import api

    for one in [kind] if kind else api.kinds():
        found = api.entries(one)
        width = max(len(entry.name) for entry in found)
        typer.echo(f"{one}:")
        for entry in found:
            typer.echo(f"  {entry.name:{width}}  {entry.summary}")
            for parameter in entry.parameters if kind else ():
                typer.echo(f"      {parameter}")
    if not kind:
        typer.echo("nnray list KIND has their parameters, nnray describe KIND NAME those of one")


app.command()(describe)


@app.command()
def ui(
    *,
    uri: Annotated[str | None, typer.Option(help="Tracking store; by default this folder's.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 5000,
) -> None:
    """Open MLflow's UI on the store that runs are recorded in."""
    from nnray import api

    api.ui(uri, host=host, port=port)


app.command()(submit)
app.command()(doctor)
app.add_typer(jobs, name="jobs")


_PLACES = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
)
"""What is wrong with a place that a person has named, and not with nnray."""


def _terminated(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line, and turn every end into a message and an exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    debug = "--debug" in sys.argv[1:]
    try:
        code = app(args=_reorder(sys.argv[1:]), standalone_mode=False) or 0
    except BaseException as error:  # noqa: BLE001 (the last stop: every end becomes a message)
        if debug:
            traceback.print_exc()
        code = _report(error)
    sys.exit(code)


def _reorder(args: list[str]) -> list[str]:
    """``--debug`` may stand anywhere."""
    rest = [arg for arg in args if arg != "--debug"]
    return ["--debug", *rest] if len(rest) < len(args) else rest


def _report(error: BaseException) -> int:
    """Print one clear message; the exit code comes back."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, Stopped | KeyboardInterrupt):
        print(str(error) or "interrupted", file=sys.stderr)
        return 130
    if isinstance(error, NnrayError):
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, DivergedError | ClientFailure) else 2
    if isinstance(error, TyperException):
        print(f"error: {error.format_message().replace('Value error, ', '')}", file=sys.stderr)
        return 2
    if isinstance(error, OSError) and error.errno in _PLACES:
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {place}{error.strerror}; --debug shows where", file=sys.stderr)
        return 2
    print(
        f"error: {type(error).__name__}: {error}\nThis is a fault of nnray's: --debug shows where.",
        file=sys.stderr,
    )
    return 1
