"""Jobs on a cluster: submit one, and look at those that are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import Exit

from nnray.cli.options import Address, File, JobId, Json, Overrides, Quiet, Root, running

if TYPE_CHECKING:
    from nnray.runners.submit import Job


def doctor(
    *,
    address: Address = None,
    storage: Annotated[
        str | None, typer.Option(help="Folder or URI that all nodes must reach.", show_default=False)
    ] = None,
    tracking: Annotated[
        str | None, typer.Option(help="Tracking store; by default that of a run.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Look for what would stop a run here, or on a cluster; exits with 1 if something would."""
    from nnray import api

    with running():
        found = api.doctor(address=address, storage=storage, tracking=tracking)
    if as_json:
        typer.echo(json.dumps([finding.to_dict() for finding in found]))
    else:
        typer.echo("\n".join(str(finding) for finding in found))
    if any(finding.verdict == "problem" for finding in found):
        raise Exit(1)


jobs = typer.Typer(help="Look at the jobs of a Ray cluster.", no_args_is_help=True, rich_markup_mode=None)


def submit(
    verb: Annotated[str, typer.Argument(help="train, sweep or federate.", show_default=False)],
    file: File,
    *,
    overrides: Overrides = None,
    address: Address = None,
    project: Annotated[
        Path | None, typer.Option(help="Folder to ship; by default this one.", show_default=False)
    ] = None,
    job: Annotated[
        str | None, typer.Option("--id", help="Of the job; else made of its content.", show_default=False)
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=VALUE]", help="A variable for the job; may be repeated.", show_default=False
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Watch it to its end.")] = True,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train, sweep or federate on a Ray cluster; Ctrl-C stops watching, not the job."""
    from nnray import api

    with running():
        found = api.submit(
            verb,
            file,
            overrides=overrides or [],
            address=address,
            project=project,
            job=job,
            env=env or [],
            quiet=quiet,
        )
    if wait:
        _watch(found.id, address=address, as_json=as_json)
    else:
        _print_job(found, as_json=as_json)


@jobs.command("list")
def list_jobs(*, address: Address = None, as_json: Json = False) -> None:
    """List all jobs, newest first."""
    from nnray import api

    found = api.jobs(address).all()
    if as_json:
        typer.echo(json.dumps([job.to_dict() for job in found]))
    else:
        typer.echo("\n".join(str(job) for job in found) or "no jobs")


@jobs.command()
def status(job: JobId, *, address: Address = None, as_json: Json = False) -> None:
    """Say how a job stands; exits with 1 if it failed or was stopped."""
    from nnray import api

    found = api.jobs(address).status(job)
    _print_job(found, as_json=as_json)
    if found.is_over and found.status != "SUCCEEDED":
        raise Exit(1)


@jobs.command()
def logs(
    job: JobId,
    *,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Watch it to its end.")] = True,
    address: Address = None,
) -> None:
    """Show all that a job has printed; Ctrl-C stops watching, not the job."""
    from nnray import api

    if follow:
        _watch(job, address=address, as_json=False)
    else:
        api.jobs(address).logs(job, lambda text: typer.echo(text, nl=False), follow=False)


@jobs.command()
def stop(job: JobId, *, address: Address = None, as_json: Json = False) -> None:
    """End a job; its run can be gone on with: submit it again."""
    from nnray import api

    _print_job(api.jobs(address).stop(job), as_json=as_json)


@jobs.command("runs")
def list_runs(*, root: Root = Path("runs"), as_json: Json = False) -> None:
    """List the runs of a folder, newest first: running, lost, resumable or ended, whatever Ray says."""
    from nnray.runners.folder import runs, state

    found = {run.name: state(run.path) for run in runs(root)}
    if as_json:
        typer.echo(json.dumps(found))
    else:
        typer.echo("\n".join(f"{name}  {where}" for name, where in found.items()) or f"no runs in {root}")


def _watch(job: str, *, address: str | None, as_json: bool) -> None:
    """Show what a job prints until it ends; ends with the exit code of its driver."""
    from nnray import api

    lines = _JobLines(to_stderr=as_json)
    with running(redirect=False):
        ended = api.jobs(address).logs(job, lines)
    lines.close()
    if as_json and lines.result:
        typer.echo(lines.result)
    if ended.status != "SUCCEEDED":
        typer.echo(f"job {ended}: {ended.message or 'see above'}", err=True)
        raise Exit(130 if ended.status == "STOPPED" else ended.exit_code or 1)


def _print_job(job: Job, *, as_json: bool) -> None:
    typer.echo(json.dumps(job.to_dict()) if as_json else str(job))


class _JobLines:
    """Shows a job's lines as they come, but for its result, which is for scripts."""

    def __init__(self, *, to_stderr: bool) -> None:
        self.result, self._rest, self._to_stderr = "", "", to_stderr

    def __call__(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if _is_result(line):
                self.result = line
            else:
                typer.echo(line, err=self._to_stderr)

    def close(self) -> None:
        if self._rest:
            self("\n")


def _is_result(line: str) -> bool:
    if not line.startswith("{"):
        return False
    try:
        return {"run_id", "verb", "metrics"} <= set(json.loads(line))
    except ValueError:
        return False
