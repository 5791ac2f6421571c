"""Small federated runs in this process, and strategies that go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnray.config import Experiment, parse
from nnray.runners.federated import federate
from nnray.runners.federated.display import FederatedDisplay
from nnray.runners.federated.history import RoundRecord
from nnray.runners.federated.result import FederatedResult
from nnray.runners.folder import RunFolder, create
from nnray.tracking import MemoryTracker

FAULTS = "tests.unit.runners.federated.faults:"
TIMED = ("seconds", "train_seconds", "evaluate_seconds", "round_seconds")


def experiment(federated: Mapping[str, Any] | None = None, **fields: Any) -> Experiment:
    """Twenty clients of digits, five in a round."""
    return parse(
        {
            "name": "tiny",
            "data": {"name": "digits", "limit": 400},
            "model": {"name": "mlp", "hidden": [8], "dropout": 0.2},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "training": {"batch_size": 10},
            "federated": {
                "clients": 20,
                "partition": {"name": "dirichlet", "alpha": 0.5},
                "cohort": 5,
                "rounds": 4,
                "workers": 0,
                **(federated or {}),
            },
            **fields,
        }
    )


class Told(FederatedDisplay):
    """Keeps what a person would see; interrupts where it is told to."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        self.notes: list[str] = []
        self.rounds: list[int] = []
        self._after = interrupt_after

    def note(self, text: str, /) -> None:
        self.notes.append(text)

    def round(self, record: Any, /) -> None:
        self.rounds.append(record.round)
        if record.round == self._after:
            raise KeyboardInterrupt


class Ran:
    """A run, which may go on."""

    def __init__(self, made: Experiment) -> None:
        self.folder: RunFolder = create(made, "federate")
        self.tracker = MemoryTracker()

    def go(self, display: FederatedDisplay | None = None) -> FederatedResult:
        return federate(self.folder.experiment, self.folder, tracker=self.tracker, display=display or Told())

    @property
    def history(self) -> list[RoundRecord]:
        from nnray.runners.federated.history import History
        from nnray.training.storage import LocalFolder

        return list(History(LocalFolder(self.folder.path)).upto(10**9))

    @property
    def measured(self) -> list[dict[str, float]]:
        """The metrics of each round that don't measure time."""
        return [
            {name: value for name, value in record.metrics.items() if name not in TIMED}
            for record in self.history
        ]


def ran(federated: Mapping[str, Any] | None = None, **fields: Any) -> tuple[Ran, FederatedResult]:
    """A run to its end."""
    run = Ran(experiment(federated, **fields))
    return run, run.go()
