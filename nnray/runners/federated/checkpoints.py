"""Checkpoints of a federated run: written beside training, verified when read.

One holds weights, what the strategy keeps, the bits of the next sum, the index of the clients' states, and
what clients have contributed. The weights of the best round are kept with it.

Training never waits for the disk: where rounds end faster than a checkpoint is written, the newest one that
waits takes the place of those before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nnray.errors import CheckpointError
from nnray.federated.rounds import RoundState
from nnray.federated.strategy import Vectors
from nnray.federated.weights import Weights
from nnray.runners.federated.states import ClientStates, Index
from nnray.training import checkpoint

_KEEP = 2


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands after a round.

    Args:
        state: Of the rounds.
        participants: What clients have contributed.
        seconds: That the run has taken.
        best: The best round so far and its weights; None where nothing says which is best.
    """

    state: RoundState
    participants: Mapping[int, Any]
    seconds: float
    best: tuple[int, Weights] | None = None


class Checkpoints:
    """The checkpoints of a run; a context, at whose end the last one is written.

    Args:
        folder: Of the checkpoints.
        states: What clients keep; written and read with them.
        before: Called before one is written: what it relies on must be on the disk.
    """

    def __init__(
        self, folder: Path, states: ClientStates, *, before: Callable[[], None] = lambda: None
    ) -> None:
        self._folder, self._states, self._before = folder, states, before
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="nnray-checkpoint")
        self._last: Future[None] | None = None
        self._waiting: Progress | None = None
        self._changed: dict[int, Vectors] = {}
        self._older: Index = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._write()
        except CheckpointError:
            if error is None:  # else that one is told
                raise
        finally:
            self._pool.shutdown(wait=True)
        if error is None and self._last is not None:
            self._last.result()

    def save(self, progress: Progress) -> None:
        """Have a checkpoint written, now or after the one that is being written."""
        self._waiting = progress
        self._changed |= self._states.changed()
        if self._last is None or self._last.done():
            self._write()

    def _write(self) -> None:
        last, progress = self._last, self._waiting
        if progress is None:
            return
        changed, self._changed, self._waiting = self._changed, {}, None
        self._last = self._pool.submit(self._commit, progress, changed)
        if last is not None:
            last.result()  # a full disk is told at the next round

    def _commit(self, progress: Progress, changed: Mapping[int, Vectors]) -> None:
        self._before()
        state, best = progress.state, progress.best
        index = self._states.save(changed, number=state.round)
        saved = {
            "round": state.round,
            "weights": _plain(state.weights),
            "server": dict(state.server),
            "bits": dict(state.bits),
            "participants": {client: list(values) for client, values in progress.participants.items()},
            "seconds": progress.seconds,
            "best": best and {"round": best[0], "weights": _plain(best[1])},
            "clients": {client: list(entry) for client, entry in index.items()},
        }
        checkpoint.save(self._folder, saved, epoch=state.round)
        checkpoint.prune(self._folder, keep=_KEEP, best=state.round)
        self._states.prune([self._older, index])
        self._older = index

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
        saved, best = found.state, found.state["best"]
        try:
            self._states.load({client: tuple(entry) for client, entry in saved["clients"].items()})
        except CheckpointError as error:
            raise CheckpointError(f"{error}; no round can be gone on from: remove {self._folder}") from error
        self._older = {client: (number, digest) for client, (number, digest) in saved["clients"].items()}
        return Progress(
            RoundState(saved["round"], Weights(**saved["weights"]), saved["server"], saved["bits"]),
            saved["participants"],
            saved["seconds"],
            best and (best["round"], Weights(**best["weights"])),
        )


def _plain(weights: Weights) -> dict[str, Any]:
    return {"params": weights.params, "floats": weights.floats, "ints": weights.ints}
