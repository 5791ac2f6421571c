"""A trial that takes more memory than there is: killed by the kernel, named as such; the others end well."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from nnray.runners.folder import last
from nnray.runners.sweep.journal import Journal
from nnray.runners.sweep.ledger import Ledger

pytestmark = [pytest.mark.faults, pytest.mark.ray]
LIMIT = 4_000_000_000
CODE = """
import torch
from torch import nn


class Greedy(nn.Module):
    def __init__(self, gigabytes):
        super().__init__()
        self.gigabytes, self.head = gigabytes, nn.Linear(64, 10)

    def forward(self, images):
        if self.training and self.gigabytes:
            self.held = [torch.ones(250_000_000) for _ in range(self.gigabytes)]
        return self.head(images.flatten(1))


def greedy(info, *, gigabytes: int = 0):
    return Greedy(gigabytes)
"""
EXPERIMENT = {
    "name": "hungry",
    "data": {"name": "digits", "limit": 200},
    "model": {"name": "greedy:greedy"},
    "training": {"epochs": 2, "threads": 1},
    "sweep": {
        "space": {"model.gigabytes": {"choice": [0, 8]}},
        "points": [{"model.gigabytes": 8}],
        "trials": 4,
        "scheduler": "none",
        "search": "random",
        "concurrency": 1,
    },
}


def _group() -> Path | None:
    """A control group with a memory limit of its own, where this user may make one."""
    name = f"nnray-test-{uuid.uuid4().hex[:8]}"
    for root, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = root / name
        try:
            group.mkdir()
            (group / limit).write_text(str(LIMIT))
        except OSError:
            if group.is_dir():
                group.rmdir()
            continue
        return group
    return None


def _is_allowed() -> bool:
    made = _group()
    if made is not None:
        made.rmdir()
    return made is not None


needs_group = pytest.mark.skipif(
    not _is_allowed(), reason="this user may not make a control group with a memory limit"
)


@pytest.fixture
def group() -> Iterator[Path]:
    made = _group()
    assert made is not None
    yield made
    left = [psutil.Process(int(pid)) for pid in (made / "cgroup.procs").read_text().split()]
    psutil.wait_procs(left, timeout=30)  # what ends with the sweep may do so a moment later
    made.rmdir()


@needs_group
def test_a_trial_out_of_memory_is_named_and_the_others_end_well(group: Path) -> None:
    Path("greedy.py").write_text(CODE)
    Path("hungry.yaml").write_text(yaml.safe_dump(EXPERIMENT))

    def join() -> None:
        (group / "cgroup.procs").write_text(str(os.getpid()))

    command = [sys.executable, "-m", "nnray.cli", "sweep", "hungry.yaml", "--quiet", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=join)
    assert done.returncode == 0, done.stderr
    trials = Ledger("max", events=Journal(last(Path("runs")).path / "journal.jsonl").events()).trials
    greedy = {number: trial.params["model.gigabytes"] > 0 for number, trial in trials.items()}
    assert set(greedy.values()) == {True, False}
    for number, trial in trials.items():
        assert trial.state == ("failed" if greedy[number] else "finished")
        assert trial.reason.startswith("OutOfMemory: ") is greedy[number]
    assert "Traceback" not in done.stderr
