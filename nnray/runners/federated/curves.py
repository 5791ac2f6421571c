"""The course of a federated run, read from its folder: a metric by round, by bytes and by client steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nnray.durable import read_json_lines
from nnray.errors import RunError, suggestion
from nnray.metrics import better, mode_of
from nnray.runners.folder import RunFolder

HISTORY = "history.jsonl"


@dataclass(frozen=True, slots=True)
class Curve:
    """A metric of a run, at the rounds in which it was measured.

    Args:
        name: Of the run's folder.
        label: What sets the run apart from those beside it.
        metric: What is shown.
        rounds: Numbers of those rounds.
        bytes: Sent up to each, in both directions, by all clients.
        steps: Optimizer steps of all clients up to each.
        values: The metric's.
    """

    name: str
    label: str
    metric: str
    rounds: tuple[int, ...]
    bytes: tuple[float, ...]
    steps: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def best(self) -> int:
        """Where the metric was best first: an index of ``values``."""
        mode = mode_of(self.metric)
        found = 0
        for place, value in enumerate(self.values):
            found = place if better(mode, value, self.values[found]) else found
        return found

    def first_to(self, value: float) -> int | None:
        """Where the metric was as good as a value first; None if never."""
        mode = mode_of(self.metric)
        return next((at for at, seen in enumerate(self.values) if not better(mode, value, seen)), None)


def read_curve(run: RunFolder, *, metric: str, label: str = "") -> Curve:
    """The course of a metric.

    Args:
        run: A federated one, ended or not.
        metric: Such as ``test_accuracy``.
        label: What sets it apart; empty for its name.

    Raises:
        RunError: It is no federated run, or has no such metric.
    """
    if run.record["verb"] != "federate":
        raise RunError(f"{run.name} is a {run.record['verb']} run: it has no rounds to compare")
    points: list[tuple[int, float, float, float]] = []
    sent, steps, names = 0.0, 0.0, set[str]()
    for number, metrics in read_rounds(run):
        sent += metrics.get("bytes_down", 0.0) + metrics.get("bytes_up", 0.0)
        steps += metrics.get("client_steps", 0.0)
        names |= metrics.keys()
        if math.isfinite(metrics.get(metric, math.nan)):
            points.append((number, sent, steps, metrics[metric]))
    if not points:
        what = suggestion(metric, names) if names else "no round has ended yet"
        raise RunError(f"{run.name} has no metric {metric!r}: {what}")
    rounds, byte_counts, step_counts, values = zip(*points, strict=True)
    return Curve(run.name, label or run.name, metric, rounds, byte_counts, step_counts, values)


def read_rounds(run: RunFolder) -> Iterator[tuple[int, Mapping[str, float]]]:
    """The rounds of a run with their metrics, in order; of one that was done again the later line counts."""
    lines = read_json_lines(run.path / HISTORY)
    found = {int(line["round"]): line["metrics"] for line in lines if {"round", "metrics"} <= line.keys()}
    yield from sorted(found.items())
