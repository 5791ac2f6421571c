"""The sweep's own journal: append-only, and written before anything is done.

Each line is one event. Applying the events in order to an empty ledger gives all that is known
of the trials; the live sweep and a later process that reads the journal do the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from nnray.clock import now_ms
from nnray.durable import append_json, read_json_lines

State = Literal["running", "finished", "pruned", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that is about to be acted on.

    Args:
        trial: Number of the trial, from 0.
    """

    trial: int
    time_ms: int = field(default_factory=now_ms, kw_only=True)


@dataclass(frozen=True, slots=True)
class Proposed(Event):
    """A trial will be tried with these values.

    Args:
        params: By dotted path.
        run: Key of its run in the record.
    """

    params: Mapping[str, Any]
    run: str


@dataclass(frozen=True, slots=True)
class Started(Event):
    """A worker has taken the trial."""


@dataclass(frozen=True, slots=True)
class Reported(Event):
    """An epoch of a trial has ended.

    Args:
        epoch: Counted from 1.
        value: The metric that is searched for.
        metrics: All of them.
        chosen: Whether the trial's model is this epoch's, as far as is known.
        is_last: Whether the trial comes to its end with it.
        system: What it took of the machine.
    """

    epoch: int
    value: float
    metrics: Mapping[str, float]
    chosen: bool
    is_last: bool = False
    system: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decided(Event):
    """The scheduler has judged a trial.

    Args:
        epoch: After which epoch.
        stop: Whether it ends.
        reason: In words.
        pause: Whether it waits for the others of its population.
    """

    epoch: int
    stop: bool
    reason: str
    pause: bool = False


@dataclass(frozen=True, slots=True)
class Turned(Event):
    """A member of a population goes on from its pause.

    Args:
        epoch: After which epoch.
        params: By dotted path, from here on.
        source: The trial whose weights and optimizer state it takes; None: its own.
        reason: In words.
    """

    epoch: int
    params: Mapping[str, Any]
    source: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Suspended(Event):
    """The sweep was stopped; the trial goes on when the sweep does.

    Args:
        reason: In words.
    """

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ended(Event):
    """A trial will not go on.

    Args:
        state: How it ended.
        reason: In words; empty where it came to its end.
    """

    state: State
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Recorded(Event):
    """A trial's model has been logged.

    Args:
        model_uri: Where.
        sha256: Of its weights.
    """

    model_uri: str
    sha256: str


_KINDS: Mapping[str, type[Event]] = {
    kind.__name__.lower(): kind
    for kind in (Proposed, Started, Reported, Decided, Turned, Suspended, Ended, Recorded)
}


class Journal:
    """The file of events.

    Args:
        path: JSON lines.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, event: Event) -> None:
        """Have an event on the disk before returning."""
        append_json(self._path, {"event": type(event).__name__.lower(), **asdict(event)})

    def events(self) -> Iterator[Event]:
        """The events in order; lines that are torn or of a later version's kinds are passed over."""
        for line in read_json_lines(self._path):
            kind = _KINDS.get(str(line.pop("event", "")))
            if kind is not None:
                yield kind(**line)


Listener = Callable[[Event], None]
