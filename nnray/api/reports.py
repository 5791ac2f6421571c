"""What can be seen of federated runs: before one, and of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnray import config
from nnray.api.experiments import Source, resolve

if TYPE_CHECKING:
    from nnray.runners.federated.compare import Comparison
    from nnray.runners.federated.report import PartitionReport


def report_partition(
    experiment: Source, overrides: Sequence[str] = (), *, out: str | Path | None = None
) -> PartitionReport:
    """How differently the clients of an experiment are made: sizes, labels, distances; nothing is trained.

    Args:
        experiment: With a ``federated`` section.
        overrides: As for ``load``.
        out: Folder for the table and the plot; None for a folder of ``tracking.dir``.

    Raises:
        ConfigError: There is no ``federated`` section.
        DataError: The examples can't be shared out in this way.
    """
    from nnray.runners.federated.report import report

    resolved = resolve(experiment, overrides)
    config.require_federated(resolved)
    folder = Path(out) if out else Path(resolved.tracking.dir) / f"{resolved.name}-partition"
    return report(resolved, folder)


def compare(
    runs: Sequence[str | Path],
    *,
    metric: str = "test_accuracy",
    target: float | None = None,
    root: str | Path = "runs",
    out: str | Path = "comparison",
) -> Comparison:
    """Draw a metric of federated runs over rounds, over bytes and over client steps.

    Args:
        runs: As for ``resume``; two or more.
        metric: Of the rounds.
        target: A value to reach; None for one that all of them reached.
        root: The folder that holds the runs' folders.
        out: Folder for the plot, as PNG and as a page, and the table.

    Raises:
        RunError: A run isn't there, is no federated one, or has no such metric.
    """
    from nnray.runners.federated.compare import compare as draw
    from nnray.runners.folder import find

    found = [find(str(run), root=Path(root)) for run in runs]
    return draw(found, metric=metric, target=target, out=Path(out))
