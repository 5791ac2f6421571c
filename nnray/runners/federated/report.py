"""How unlike the clients of an experiment are, told before anything is trained: text, table and heat map."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnray.assembly import load_data
from nnray.config import Experiment, require_federated
from nnray.data.splits import Examples
from nnray.durable import write_bytes
from nnray.errors import ConfigError, Problem
from nnray.federated import heterogeneity
from nnray.federated.heterogeneity import Heterogeneity
from nnray.runners.federated.heatmap import draw_heterogeneity
from nnray.runners.federated.plots import write_png
from nnray.runners.federated.setting import share_out


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionReport:
    """How unlike the clients of a partition are.

    Args:
        partition: Its name.
        found: All figures.
        png: The labels of each client as a heat map, with sizes and distances beside it.
        table: A line a client, as CSV.
    """

    partition: str
    found: Heterogeneity
    png: Path
    table: Path

    def summary(self) -> str:
        """The figures in a few lines, and where the files are."""
        return f"partition {self.partition}\n{self.found.summary()}\nplot  {self.png}\ntable {self.table}"

    def to_dict(self) -> dict[str, Any]:
        """The figures over all clients as JSON can hold them."""
        sizes, distances, kinds = self.found.sizes, self.found.distances, self.found.num_classes
        return {
            "partition": self.partition,
            "clients": len(sizes),
            "examples": int(sizes.sum()),
            "unused": self.found.unused,
            "smallest": int(sizes.min()),
            "largest": int(sizes.max()),
            "mean_distance": float(distances.mean()),
            "mean_classes": float(kinds.mean()),
            "png": str(self.png),
            "table": str(self.table),
        }

    def _repr_png_(self) -> bytes:
        return self.png.read_bytes()


def report(experiment: Experiment, folder: Path) -> PartitionReport:
    """Share out an experiment's examples and say how unlike the clients are; nothing is trained.

    Args:
        experiment: With a ``federated`` section.
        folder: Where plot and table go; made if it is not there.

    Raises:
        DataError: The examples can't be shared out in this way.
        RunError: The folder can't be written.
    """
    if require_federated(experiment).sites:
        message = "keep their examples to themselves: there is no partition to report"
        raise ConfigError(experiment.name, [Problem("federated.sites", message)])
    splits = load_data(experiment)
    assert isinstance(splits.train, Examples)
    partition = share_out(experiment, splits)
    found = heterogeneity.report(
        partition,
        splits.train.labels.numpy(),
        classes=splits.info.classes,
        groups=None if partition.groups is None or splits.groups is None else splits.groups().names,
    )
    assert experiment.federated is not None
    name = experiment.federated.partition.name
    png = write_png(draw_heterogeneity(found, title=f"{experiment.name}: {name}"), folder / "partition.png")
    table = folder / "partition.csv"
    write_bytes(table, _csv(found))
    return PartitionReport(partition=name, found=found, png=png, table=table)


def _csv(found: Heterogeneity) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(found.columns())
    writer.writerows(found.rows(None))
    return text.getvalue().encode()
