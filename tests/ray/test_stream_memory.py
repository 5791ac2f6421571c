"""Acceptance: a set five times a memory limit trains under that limit; held in memory, it does not.

The limit is a control group's, around the training process: all its memory and page cache. The
cluster that reads for it stands outside, as on other machines.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from nnray.runners.cluster import Cluster, _token_file
from tests.conftest import ROOT

GROUPS = Path("/sys/fs/cgroup/memory")
LIMIT_BYTES = 800 * 2**20
SET_BYTES = 5 * LIMIT_BYTES
WIDTH, ROWS = 3 * 64 * 64, 340

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(
        not (os.access(GROUPS, os.W_OK) and (GROUPS / "memory.limit_in_bytes").exists()),
        reason="needs memory control groups (version 1) that it may make",
    ),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of five times the limit, which pack well: it is memory that is measured, not the disk."""
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    schema = pa.schema([("label", pa.int64()), ("x", pa.binary(WIDTH))])
    count = -(-SET_BYTES // (WIDTH * ROWS))
    with pq.ParquetWriter(folder / "a.parquet", schema, compression="zstd", use_dictionary=False) as writer:
        for _ in range(count):
            labels = rng.integers(0, 4, ROWS)
            pixels = np.tile(rng.integers(0, 64, (ROWS, WIDTH // 64), dtype=np.uint8), (1, 64))
            pixels += (labels * 60).astype(np.uint8)[:, None]
            column = pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(WIDTH), ROWS, [None, pa.py_buffer(np.ascontiguousarray(pixels))]
            )
            writer.write_table(pa.table({"label": labels, "x": column}, schema=schema), row_group_size=ROWS)
    assert pq.ParquetFile(folder / "a.parquet").metadata.num_rows * WIDTH >= SET_BYTES
    return folder


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of the limit; swap, where it is counted, is in it."""
    path = GROUPS / f"nnray-test-{os.getpid()}"
    path.mkdir()
    (path / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES))
    yield path
    path.rmdir()


def run(group: Path, data: Path, how: str) -> subprocess.CompletedProcess[str]:
    """Train in a process of its own under the limit, on the cluster of this one."""
    enter = f'echo $$ > {group}/cgroup.procs; exec "$@"'
    command = [sys.executable, str(ROOT / "tests/ray/stream_driver.py"), str(data), how]
    address = ray.get_runtime_context().gcs_address
    environment = {
        **os.environ,
        "RAY_ADDRESS": address,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(_token_file()),
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        ["bash", "-c", enter, "bash", *command], env=environment, capture_output=True, text=True, timeout=1500
    )


def test_a_set_of_five_times_the_limit_trains_under_it(cluster: Cluster, data: Path, group: Path) -> None:
    done = run(group, data, "stream")
    assert done.returncode == 0, done.stderr[-3000:]
    said: dict[str, Any] = json.loads(Path("said.json").read_text())
    used = int((group / "memory.max_usage_in_bytes").read_text())
    print(f"limit {LIMIT_BYTES >> 20} MiB, set {SET_BYTES >> 20} MiB, most used {used >> 20} MiB,", said)
    assert used <= LIMIT_BYTES
    assert said["num_train"] * WIDTH > 4.9 * LIMIT_BYTES
    assert said["metrics"]["test_loss"] < 1.0  # four classes by chance: 1.39


def test_held_in_memory_it_does_not_train(cluster: Cluster, data: Path, group: Path) -> None:
    done = run(group, data, "hold")
    assert done.returncode != 0
    assert not Path("said.json").exists()
