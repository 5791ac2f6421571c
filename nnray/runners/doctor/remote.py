"""Has a cluster examined from its head, by a job of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from nnray.errors import ClusterError
from nnray.runners.doctor.finding import Finding
from nnray.runners.submit import Jobs, prepare_doctor

_SHOWN = 2000


def examine_remotely(jobs: Jobs, options: Sequence[str]) -> list[Finding]:
    """Run ``nnray doctor`` on a cluster.

    Args:
        jobs: Of the cluster.
        options: Of ``nnray doctor``.

    Raises:
        ClusterError: It could not be run there; the end of what it printed says why.
    """
    job, _ = jobs.submit(prepare_doctor([*options, "--json"]))
    printed: list[str] = []
    ended = jobs.logs(job.id, printed.append)
    text = "".join(printed)
    for line in reversed(text.splitlines()):
        if line.startswith("["):
            found: list[dict[str, Any]] = json.loads(line)
            return [Finding(**finding) for finding in found]
    raise ClusterError(f"job {ended.id} {ended.status.lower()}: {text[-_SHOWN:].strip()}")
