"""Checkpoints of a federated run: written beside training, verified when read.

One holds weights, what the strategy keeps, the bits of the next sum, the index of the clients' states,
and what clients have contributed. The weights of the best round are kept with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nnray.errors import CheckpointError
from nnray.federated.rounds import RoundState
from nnray.federated.weights import Weights
from nnray.runners.federated.states import ClientStates
from nnray.training import checkpoint
from nnray.training.writer import Writer

_KEEP = 2


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands after a round.

    Args:
        state: Of the rounds.
        participants: What clients have contributed.
    """

    state: RoundState
    participants: Mapping[int, Any]


class Checkpoints:
    """The checkpoints of a run; a context, at whose end the last one is written.

    Args:
        folder: Of the checkpoints.
        states: What clients keep; written and read with them.
    """

    def __init__(self, folder: Path, states: ClientStates) -> None:
        self._folder, self._states, self._writer = folder, states, Writer()
        self._best: tuple[int, Weights] | None = None
        self._indices: dict[int, dict[int, tuple[int, str]]] = {}

    def __enter__(self) -> Self:
        self._writer.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.__exit__(kind, error, trace)

    def save(self, progress: Progress, *, is_best: bool) -> None:
        """Have a checkpoint written; only the one before is waited for."""
        state = progress.state
        if is_best:
            self._best = state.round, state.weights
        changed = self._states.changed()
        saved = {
            "round": state.round,
            "weights": _plain(state.weights),
            "server": dict(state.server),
            "bits": dict(state.bits),
            "participants": {client: list(values) for client, values in progress.participants.items()},
            "best": None
            if self._best is None
            else {"round": self._best[0], "weights": _plain(self._best[1])},
        }

        def write(copied: Mapping[str, Any]) -> None:
            index = self._states.save(changed, number=state.round)
            clients = {client: list(entry) for client, entry in index.items()}
            checkpoint.save(self._folder, {**copied, "clients": clients}, epoch=state.round)
            checkpoint.prune(self._folder, keep=_KEEP, best=state.round)
            self._indices = {n: i for n, i in self._indices.items() if n > state.round - 1}
            self._prune(state.round, index)

        self._writer.submit(write, saved)

    def _prune(self, number: int, index: dict[int, tuple[int, str]]) -> None:
        """Client files that neither of the checkpoints that are kept refers to."""
        kept = [found for _, found in sorted(self._indices.items())[-(_KEEP - 1) :]]
        self._states.prune([*kept, index])
        self._indices[number] = index

    def newest(self, on_skipped: Callable[[str], None]) -> Progress | None:
        """Where the run stood; None before its first checkpoint. The clients' states are brought back.

        Args:
            on_skipped: Told what was wrong with a checkpoint that was passed over.

        Raises:
            CheckpointError: There are checkpoints, and none is intact.
        """
        found = checkpoint.newest(self._folder)
        if found is None:
            return None
        for problem in found.skipped:
            on_skipped(problem)
        saved = found.state
        try:
            self._states.load({client: tuple(entry) for client, entry in saved["clients"].items()})
        except CheckpointError as error:
            raise CheckpointError(f"{error}; no round can be gone on from: remove {self._folder}") from error
        self._indices = {saved["round"]: {c: tuple(e) for c, e in saved["clients"].items()}}
        if saved["best"] is not None:
            self._best = saved["best"]["round"], Weights(**saved["best"]["weights"])
        state = RoundState(saved["round"], Weights(**saved["weights"]), saved["server"], saved["bits"])
        return Progress(state, saved["participants"])

    def best_weights(self) -> tuple[int, Weights] | None:
        """The best round and its weights; None where nothing says which is best."""
        return self._best


def _plain(weights: Weights) -> dict[str, Any]:
    return {"params": weights.params, "floats": weights.floats, "ints": weights.ints}
