"""Writes the page of a run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from nnray.durable import write_bytes
from nnray.errors import NnrayError, RunError
from nnray.runners import folder as folders
from nnray.runners.folder import RunFolder
from nnray.runners.outcome import Outcome
from nnray.runners.report.account import Account
from nnray.runners.report.clients import clients
from nnray.runners.report.curves import curves
from nnray.runners.report.facts import lead, reproduce, results
from nnray.runners.report.findings import findings
from nnray.runners.report.local import of_folder
from nnray.runners.report.page import Section, page
from nnray.runners.report.stored import of_store
from nnray.tracking.archive import Archive, ArchivedRun
from nnray.tracking.stored import find_stored
from nnray.tracking.tracker import RUN_TAG


def report(
    reference: str, *, root: Path = Path("runs"), tracking: str | None = None, out: Path | None = None
) -> Outcome:
    """Write a run's page.

    Args:
        reference: A run's folder, by name or path, or its MLflow id; or a model of it, by the name that it is
            registered under or its id.
        root: The folder of the runs' folders.
        tracking: The store, for a run whose folder is gone; None as for a run.
        out: The file; None for ``report.html`` in the run's folder, or here where that is gone.

    Raises:
        RunError: There is no such run, or the file can't be written.
        TrackingError: The store can't be asked.
    """
    began = time.monotonic()
    account = open_account(reference, root=root, tracking=tracking)
    path = (out or _place(account)).absolute()
    try:
        write_bytes(path, render(account).encode())
    except OSError as error:
        raise RunError(f"can't write {path}: {error.strerror}: give another file with --out") from error
    return Outcome(
        verb="report",
        seconds=round(time.monotonic() - began, 3),
        run_id=account.run_id,
        model_uri=str(account.result.get("model_uri", "")),
        model_sha256=str(account.result.get("model_sha256", "")),
        tracking_uri=account.tracking_uri,
        files=[str(path)],
    )


def open_account(reference: str, *, root: Path, tracking: str | None = None) -> Account:
    """All that is known of a run, from its folder, else from the store alone.

    Args:
        reference: As for ``report``.
        root: The folder of the runs' folders.
        tracking: The store.

    Raises:
        RunError: There is no such run.
        TrackingError: The store can't be asked.
    """
    if (run := _local(reference, root)) is not None:
        return of_folder(run)
    try:
        archive = Archive(tracking)
        archived = _recorded(archive, reference)
    except NnrayError as error:
        known = ", ".join(run.name for run in list(folders.runs(root))[:5]) or "none"
        raise type(error)(
            f"no run {reference!r} in {root.absolute()} (newest there: {known}), and no model goes by that "
            f"name; {error}"
        ) from error
    folder = root / archived.key
    if archived.key and "/" not in archived.key and (folder / "run.json").is_file():
        return of_folder(RunFolder(folder.absolute()))
    return of_store(archive, archived)


def render(account: Account) -> str:
    """The page of a run."""
    return page(account.name, list(_sections(account)), lead=lead(account))


def _sections(account: Account) -> Iterator[Section]:
    if account.verb == "sweep":
        from nnray.runners.report.trials import trials  # draws on Optuna and matplotlib, which take seconds

        yield from trials(account)
    else:
        yield from curves(account)
    yield from clients(account)
    yield from results(account)
    yield from findings(account)
    yield from reproduce(account)


def _local(reference: str, root: Path) -> RunFolder | None:
    for path in (Path(reference), root / reference):
        if (path / "run.json").is_file():
            return RunFolder(path.absolute())
    return next((run for run in folders.runs(root) if (run.result or {}).get("run_id") == reference), None)


def _recorded(archive: Archive, reference: str) -> ArchivedRun:
    """The run of that name or id, else the one that made the model of that name."""
    try:
        return archive.run(reference)
    except RunError as error:
        try:
            stored = find_stored(reference, uri=archive.uri)
        except RunError:
            raise error from None
    if not stored.run_id:
        raise RunError(f"the model {reference} is of no run: there is nothing to report of it")
    return archive.run(stored.run_id)


def _place(account: Account) -> Path:
    """In the run's folder; here where it has none, a trial's by the names of its sweep and its own."""
    name = account.tags.get(RUN_TAG, account.name).replace("/", "-")
    return account.folder / "report.html" if account.folder else Path(f"{name}.html")
