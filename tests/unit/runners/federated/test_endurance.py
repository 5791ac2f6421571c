"""Two hundred rounds: the process keeps its size, its tensors and its files."""

from __future__ import annotations

import gc
from dataclasses import dataclass

import psutil
from torch import Tensor

from nnray.runners.federated.history import RoundRecord
from tests.unit.runners.federated.small import Ran, Told, experiment

ROUNDS, WARM, EVERY = 200, 100, 4
WEIGHTS_BYTES = 4 * (64 * 256 + 256 * 256 + 256 * 10)
"""Of the model, about: what a round may leave behind by mistake."""
SLACK_BYTES = 12_000_000
"""What an allocator may keep for itself between two looks; a vector of each round would be 34 MB."""
FLYING = 8
"""Vectors that a checkpoint may be busy with."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the process has."""

    memory: int
    tensors: int
    files: int


def look() -> Look:
    gc.collect()
    process = psutil.Process()
    tensors = sum(found.nbytes for found in gc.get_objects() if type(found) is Tensor)
    return Look(process.memory_info().rss, tensors, process.num_fds())


class Looks(Told):
    """Looks at the process in two rounds."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[int, Look] = {}

    def round(self, record: RoundRecord, /) -> None:
        super().round(record)
        if record.round in (WARM, ROUNDS):
            self.seen[record.round] = look()


def test_rounds_leave_nothing_behind() -> None:
    """With scaffold, whose clients' control variates are replaced whenever they take part."""
    looks, federated = Looks(), {"rounds": ROUNDS, "clients": 10, "strategy": "scaffold"}
    rarely = {"evaluate_every": EVERY, "checkpoint_every": EVERY}
    model = {"name": "mlp", "hidden": [256, 256]}
    made = experiment({**federated, **rarely}, model=model, optimizer={"name": "sgd", "lr": 0.01})
    assert Ran(made).go(looks).rounds == ROUNDS
    before, after = looks.seen[WARM], looks.seen[ROUNDS]
    assert before.tensors > 10 * WEIGHTS_BYTES, "the clients' own are among them"
    assert after.tensors - before.tensors <= FLYING * WEIGHTS_BYTES < (ROUNDS - WARM) / EVERY * WEIGHTS_BYTES
    assert after.memory - before.memory < SLACK_BYTES < (ROUNDS - WARM) * WEIGHTS_BYTES
    assert after.files <= before.files + 2
