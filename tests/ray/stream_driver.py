"""Trains on a streamed set in this process, and says how it went; run under a memory limit by a test."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import pyarrow.parquet as pq

from nnray.config import parse
from nnray.runners.display import Quiet
from nnray.runners.folder import create
from nnray.runners.local import train
from nnray.tracking import MemoryTracker

HELD_BACK = 100


def main(data: str, streams: bool) -> None:
    experiment = parse(
        {
            "name": "large",
            "data": {
                "name": "parquet",
                "root": data,
                "shape": [3, 64, 64],
                "stream": streams,
                "buffer_mib": 32,
                "validation": HELD_BACK,
                "test": HELD_BACK,
            },
            "model": {"name": "mlp", "hidden": [4]},
            "optimizer": {"name": "sgd", "lr": 1e-3},
            "training": {"epochs": 1, "batch_size": 256, "threads": 1, "eval_batch_size": 100},
        }
    )
    tracker = MemoryTracker()
    result = train(experiment, create(experiment, "train"), tracker=tracker, display=Quiet())
    tracker.close()
    said = {
        "metrics": {name: round(value, 4) for name, value in result.metrics.items() if "f1_" not in name},
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "num_train": num_train(data),
    }
    Path("said.json").write_text(json.dumps(said))


def num_train(data: str) -> int:
    """Rows in the files, but for those held back."""
    files = Path(data).glob("*.parquet")
    return sum(pq.ParquetFile(file).metadata.num_rows for file in files) - 2 * HELD_BACK


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] == "stream")
