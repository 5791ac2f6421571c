"""What is known of a run, wherever it was read from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nnray.config import Experiment

if TYPE_CHECKING:
    from nnray.runners.sweep.ledger import Ledger

Point = tuple[int, float]
"""Epoch or round, and a value."""
State = Literal["ended", "running", "lost", "failed", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What is known of a run.

    Args:
        name: Of the run.
        verb: That it was begun by.
        state: How it stands.
        error: Why it failed; empty where it did not, or nobody knows.
        began_s: When, in seconds since 1970; 0 where that is not known.
        seconds: It took, all its processes added up; 0 where that is not known.
        run_id: The store's id of it.
        tracking_uri: The store.
        folder: Of the run; None where it is gone.
        experiment: That it ran; None where that can't be read any more.
        config: The experiment as a file.
        result: What it came to, by the names of its result's fields, as far as that is known.
        history: Metrics by epoch or round.
        failures: Of clients: ``round``, ``client``, ``error`` and ``fate`` of each.
        faults: What happened on the way, in words.
        ledger: A sweep's trials.
        tags: As the store has them.
        data: Of its data: ``name``, ``digest``, ``num_examples``, ``classes``.
        found: What later verbs have found out, as ``VERB.NAME``.
        files: What was recorded with it, by path; each is read when called.
        notes: What a reader must know of how this was put together.
    """

    name: str
    verb: str
    state: State
    error: str = ""
    began_s: float = 0.0
    seconds: float = 0.0
    run_id: str = ""
    tracking_uri: str = ""
    folder: Path | None = None
    experiment: Experiment | None = None
    config: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    history: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    failures: Sequence[Mapping[str, Any]] = ()
    faults: Sequence[str] = ()
    ledger: Ledger | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    found: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def metrics(self) -> Mapping[str, float]:
        """What its model came to."""
        found: Mapping[str, float] = self.result.get("metrics", {})
        return found

    @property
    def period(self) -> str:
        """What it trains in."""
        return "round" if self.verb == "federate" else "epoch"

    @property
    def classes(self) -> Sequence[str]:
        """Names of the classes; empty where they are not known."""
        return tuple(map(str, self.data.get("classes", ())))
