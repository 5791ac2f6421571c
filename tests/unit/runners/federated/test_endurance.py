"""Two hundred rounds: the process keeps its size, its tensors and its files.

They go in a process of their own: what a long test session gives back in between, and takes, is more.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from torch import Tensor

from nnray.runners.federated.history import RoundRecord
from tests.conftest import ROOT
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


def rounds() -> dict[int, Look]:
    """What the process has after some rounds, and after all.

    With scaffold, whose clients' control variates are replaced whenever they take part.
    """
    looks, federated = Looks(), {"rounds": ROUNDS, "clients": 10, "strategy": "scaffold"}
    rarely = {"evaluate_every": EVERY, "checkpoint_every": EVERY}
    model = {"name": "mlp", "hidden": [256, 256]}
    made = experiment({**federated, **rarely}, model=model, optimizer={"name": "sgd", "lr": 0.01})
    assert Ran(made).go(looks).rounds == ROUNDS
    return looks.seen


def test_rounds_leave_nothing_behind(tmp_path: Path) -> None:
    command, path = [sys.executable, "-m", __name__], os.pathsep.join([str(ROOT), *sys.path])
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    before, after = (Look(**found) for found in json.loads(done.stdout.splitlines()[-1]))
    assert before.tensors > 10 * WEIGHTS_BYTES, "the clients' own are among them"
    assert after.tensors - before.tensors <= FLYING * WEIGHTS_BYTES < (ROUNDS - WARM) / EVERY * WEIGHTS_BYTES
    assert after.memory - before.memory < SLACK_BYTES < (ROUNDS - WARM) * WEIGHTS_BYTES
    assert after.files <= before.files + 2


if __name__ == "__main__":
    seen = rounds()
    print(json.dumps([asdict(seen[WARM]), asdict(seen[ROUNDS])]))
