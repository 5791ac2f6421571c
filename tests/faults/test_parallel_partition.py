"""A node's cable is pulled in mid-epoch for 20 s: training goes on elsewhere, to the same bits.

Each node is a host of its own: network, processes, /tmp. When the cable is plugged in again the node that
was given up for dead must change nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nodes import Namespaces, Nodes, can_have_namespaces, namespace_nodes, until

pytestmark = [
    pytest.mark.faults,
    pytest.mark.ray,
    pytest.mark.skipif(
        not can_have_namespaces(), reason="needs root, iproute2 and a kernel that lets it make namespaces"
    ),
]
USER_CODE = Path(__file__).parent / "user_code"
ROOT = Path(__file__).parents[2]
EPOCHS, BATCHES = 4, 10
CUT_S = 20.0

# Trains on the cluster that RAY_ADDRESS names; one line says what came of it.
DRIVER = """
import json, os, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[2]]
os.chdir(sys.argv[3])
from nnray.config import parse
from nnray.runners.display import Lines
from nnray.runners.folder import create
from nnray.runners.parallel import train
from nnray.tracking import MemoryTracker

made = parse(json.loads(Path("e.json").read_text()))
folder, tracker = create(made, "train"), MemoryTracker()
result = train(made, folder, tracker=tracker, display=Lines())
tracker.close()
rows = sorted((row.key, row.step, row.value) for row in tracker.runs[folder.name].rows)
rows = [row for row in rows if row[0] not in ("samples_per_s", "epoch_seconds")]
print(json.dumps({"sha256": result.model_sha256, "faults": list(result.faults), "rows": rows}))
"""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """A head without CPUs, and three hosts with one each."""
    with namespace_nodes() as nodes, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{USER_CODE}:{ROOT}")
        nodes.add(cpus=0)
        for _ in range(3):
            nodes.add(cpus=1)
        yield nodes


def start(nodes: Nodes, name: str, *, accident: dict[str, Any] | None = None) -> tuple[Path, Any]:
    """Begin to train; the folder and the driver's process."""
    folder = nodes.folder / name
    folder.mkdir()
    ledger = {"name": "ledger_user_code:ledger", "file": str(folder / "ledger.jsonl")}
    made = {
        "name": "digits",
        "data": {"name": "digits", "limit": 300, "augment": [ledger]},
        "model": {"name": "mlp", "hidden": [16], "dropout": 0.2},
        "optimizer": {"name": "adam", "lr": 3e-3},
        "training": {"epochs": EPOCHS, "batch_size": 32, "threads": 1},
        "parallel": {"workers": 2},
    }
    (folder / "e.json").write_text(json.dumps(made))
    if accident is not None:
        (folder / "accident.json").write_text(json.dumps(accident))
    return folder, nodes.python(DRIVER, str(USER_CODE), str(ROOT), str(folder))


def ended(process: Any) -> dict[str, Any]:
    out, _ = process.communicate(timeout=1200)
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def lines(folder: Path) -> list[dict[str, Any]]:
    file = folder / "ledger.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def batches(folder: Path, rank: int) -> list[list[str]]:
    """What each process of a rank has trained on."""
    found: dict[tuple[str, int], list[str]] = {}
    for line in lines(folder):
        if line["rank"] == rank:
            found.setdefault((line["node"], line["pid"]), []).append(line["batch"])
    return list(found.values())


def test_a_partition_fails_over(nodes: Nodes) -> None:
    """The host of rank 0, which writes, is cut off while it waits in the second epoch."""
    folder, process = start(nodes, "whole")
    expected, whole = ended(process), folder
    assert expected["faults"] == []
    at = BATCHES + 5
    folder, process = start(nodes, "cut", accident={"rank": 0, "batch": at, "victim": "nobody"})
    until(lambda: (folder / "held").exists(), lambda: f"{lines(folder)[-1:]}")
    address = json.loads((folder / "held").read_text())["node"]
    (host,) = (found for found in nodes.hosts if found.address == address)
    assert isinstance(host, Namespaces)
    host.link(up=False)
    began = time.monotonic()
    (folder / "held").unlink()  # it goes on, and can reach nobody
    until(lambda: time.monotonic() - began >= CUT_S, lambda: "the clock stands still")
    host.link(up=True)
    done = ended(process)
    assert done["sha256"] == expected["sha256"]
    assert done["rows"] == expected["rows"]
    assert len(done["faults"]) >= 1
    for rank in (0, 1):
        (undisturbed,) = batches(whole, rank)
        before, *_, after = batches(folder, rank)
        assert before == undisturbed[: len(before)]
        assert at - 1 <= len(before) <= at + 1
        assert after == undisturbed[BATCHES:]
