"""Runs a function in several processes that are joined by torch's gloo."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist

from nnray.training.ranks import joined

ROOT = Path(__file__).parents[2]
LIMIT_S = 300.0


def together(
    function: Callable[..., Any], *arguments: Any, size: int, folder: Path, **options: Any
) -> list[Any]:
    """What a function of a module of the tests returns on each rank, called with the ranks first.

    Args:
        function: Of a module that can be imported from the root.
        arguments: Passed on; they and what is returned are pickled.
        size: Number of processes.
        folder: For the processes to meet in, and for their results.
        options: Passed on; ``timeout_s`` is the ranks' own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    timeout_s = options.pop("timeout_s", 120.0)
    work = (function.__module__, function.__name__, arguments, options, size, timeout_s)
    (folder / "work").write_bytes(pickle.dumps(work))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    started = [
        subprocess.Popen(
            [sys.executable, "-W", "error::FutureWarning", "-m", "tests.golden.gloo", str(folder), str(rank)],
            cwd=ROOT,
            env=environment,
        )
        for rank in range(size)
    ]
    try:
        codes = [process.wait(LIMIT_S) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    found = [folder / f"result-{rank}" for rank in range(size)]
    assert all(path.exists() for path, code in zip(found, codes, strict=True) if code == 0), codes
    return [pickle.loads(path.read_bytes()) if path.exists() else None for path in found]


def _main(folder: Path, rank: int) -> None:
    import importlib

    module, name, arguments, options, size, timeout_s = pickle.loads((folder / "work").read_bytes())
    meeting = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
    function = getattr(importlib.import_module(module), name)
    result = function(joined(timeout_s=timeout_s), *arguments, **options)
    (folder / f"result-{rank}").write_bytes(pickle.dumps(result))
    dist.destroy_process_group()


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
