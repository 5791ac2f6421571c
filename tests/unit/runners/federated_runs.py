"""Folders of federated runs as the engine leaves them, without an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnray.config import Experiment, parse
from nnray.durable import append_json
from nnray.runners.folder import RunFolder, create


def experiment_of(root: Path, **federated: Any) -> Experiment:
    """A federated experiment on digits whose runs are kept in ``root``."""
    return parse(
        {
            "name": "digits",
            "data": "digits",
            "model": "mlp",
            "tracking": {"dir": str(root)},
            "federated": {"clients": 20, "cohort": 5, **federated},
        }
    )


def write_run(
    root: Path, rounds: Sequence[Mapping[str, float]], *, verb: str = "federate", **federated: Any
) -> RunFolder:
    """A run's folder with a line a round; each is given by its metrics."""
    run = create(experiment_of(root, **federated), verb)
    for number, metrics in enumerate(rounds, start=1):
        line = {"round": number, "time_ms": 0, "metrics": dict(metrics), "failures": []}
        append_json(run.path / "history.jsonl", line)
    return run


def course(*values: float, sent: float = 1000.0, steps: float = 50.0) -> list[dict[str, float]]:
    """Rounds with these accuracies, each of which costs the same."""
    costs = {"bytes_down": 0.6 * sent, "bytes_up": 0.4 * sent, "client_steps": steps, "updates": 5.0}
    return [{"test_accuracy": value, "test_loss": 1 - value} | costs for value in values]
