"""Examines a machine, or a cluster from one of its nodes: what would stop a run, before it does."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from nnray.errors import ClusterError
from nnray.runners.doctor.finding import Finding, Verdict
from nnray.runners.doctor.judge import judge
from nnray.runners.doctor.node import look
from nnray.runners.doctor.storage import examine_storage

__all__ = ["Finding", "Verdict", "examine"]


def examine(*, storage: str | None = None, tracking: str | None = None) -> list[Finding]:
    """Look at this machine, or at all nodes of the cluster that ``RAY_ADDRESS`` names.

    Args:
        storage: A folder or URI for checkpoints, which all nodes must be able to write.
        tracking: The store; None as for a run.
    """
    findings = _cluster(storage) if os.environ.get("RAY_ADDRESS", "local") != "local" else _machine(storage)
    return [*findings, _tracking(tracking), *_token(os.environ.get("RAY_AUTH_TOKEN_PATH"))]


def _machine(storage: str | None) -> list[Finding]:
    return [*judge([look()]), *([examine_storage(storage)] if storage else [])]


def _cluster(storage: str | None) -> list[Finding]:
    from nnray.runners.cluster import Cluster, Resources

    try:
        with Cluster(Resources(0), advice="") as cluster:
            cluster.resources()
            from nnray.runners.doctor.cluster import examine_nodes

            return examine_nodes(storage)
    except ClusterError as error:
        return [Finding("nodes", "problem", str(error))]


def _tracking(uri: str | None) -> Finding:
    from nnray.tracking.probe import probe

    probed = probe(uri)
    if probed.problem:
        return Finding("mlflow", "problem", f"{probed.uri}: {probed.problem}")
    told = "the first run makes it" if probed.is_new else "a run was written, read back and deleted"
    return Finding("mlflow", "ok", f"{probed.uri}: {told}")


def _token(given: str | None) -> list[Finding]:
    """Ray writes its token so that others may read it."""
    path = Path(given).expanduser() if given else Path.home() / ".ray" / "auth_token"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return []
    if mode & 0o077:
        return [Finding("token", "problem", f"others may read it: chmod 600 {path}")]
    return [Finding("token", "ok", f"{path}: only you can read it")]
