"""Clusters: jobs on one, and what would stop a run there or here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnray import config
from nnray.api.experiments import load
from nnray.runners.store import say

if TYPE_CHECKING:
    from nnray.runners.doctor import Finding
    from nnray.runners.submit import Job, Jobs


def submit(
    verb: str,
    file: str | Path,
    *,
    overrides: Sequence[str] = (),
    address: str | None = None,
    project: str | Path | None = None,
    job: str | None = None,
    env: Sequence[str] = (),
    quiet: bool = False,
) -> Job:
    """Have a cluster train, sweep or federate: the driver runs there, and goes on when this machine is gone.

    The same content again is the same job: one that runs, or has succeeded, is not started again, and
    one that failed or was stopped goes on.

    Args:
        verb: ``train``, ``sweep`` or ``federate``.
        file: The experiment file; the folder you stand in is shipped with it, without what git ignores.
        overrides: As for ``load``.
        address: Of the head's dashboard; as for ``jobs``.
        project: The folder to ship instead.
        job: An id for the job; else one is made of the content.
        env: ``NAME=VALUE`` or ``NAME`` each, for the driver and all workers.
        quiet: Let the driver show no progress.

    Returns:
        The job, which may not have begun; ``jobs().logs(job.id, print)`` watches it.

    Raises:
        ConfigError: The experiment would not run.
        ClusterError: The head can't be reached, does not let you in, or knows another job of this id.
    """
    from nnray.runners import submit as runner

    experiment = load(file, overrides)
    if verb == "sweep":
        config.require_sweep(experiment)
    if verb == "federate":
        config.require_federated(experiment)
    order = runner.prepare(
        verb,
        Path(file),
        experiment=experiment,
        overrides=overrides,
        project=Path(project) if project else None,
        job=job,
        env=env,
        options=["--json", *(["--quiet"] if quiet else [])],
    )
    if note := runner.store_note(experiment, order.environment):
        say(note)
    found, is_new = jobs(address).submit(order)
    say(found.told(is_new=is_new))
    return found


def jobs(address: str | None = None) -> Jobs:
    """The jobs of a cluster: ``all``, ``status``, ``logs``, ``stop``.

    Args:
        address: Of the head's dashboard, such as ``http://head:8265``; else ``$RAY_API_SERVER_ADDRESS``, else
            this machine's. A token is sent if ``$RAY_AUTH_MODE`` is ``token``, or ``$RAY_AUTH_TOKEN`` or
            ``$RAY_AUTH_TOKEN_PATH`` is set.

    Raises:
        ClusterError: That is no address, or the token can't be read.
    """
    from nnray.runners.submit import Head, Jobs

    return Jobs(Head.find(address))


def doctor(
    *, address: str | None = None, storage: str | None = None, tracking: str | None = None
) -> list[Finding]:
    """Look for what would stop a run: versions, GPUs, disk, memory, store; clocks and ports of a cluster.

    Args:
        address: Of a head's dashboard, to examine that cluster; None for this machine, or the cluster
            that ``$RAY_ADDRESS`` names.
        storage: A folder or URI that all nodes must be able to write.
        tracking: The store; None as for a run there.

    Raises:
        ClusterError: The head can't be reached, or does not let you in.
    """
    if address is None:
        from nnray.runners.doctor import examine

        return examine(storage=storage, tracking=tracking)
    from nnray.runners.doctor.remote import examine_remotely

    given = {"--storage": storage, "--tracking": tracking}
    return examine_remotely(jobs(address), [f"{name}={value}" for name, value in given.items() if value])
