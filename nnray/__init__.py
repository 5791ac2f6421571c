"""Train, tune and record neural networks: one experiment file, one loop, one record in MLflow.

``import nnray`` costs nothing: each public name is fetched from its module when it is first used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnray.api import (
        attack,
        compare,
        compress,
        describe,
        doctor,
        ensemble,
        evaluate,
        explain,
        export,
        federate,
        jobs,
        list_models,
        load,
        predict,
        promote,
        report,
        report_partition,
        resume,
        serve,
        submit,
        sweep,
        sync,
        train,
    )
    from nnray.config import Experiment
    from nnray.data.splits import DataInfo, DataSplits, Examples
    from nnray.errors import (
        CheckpointError,
        ClusterError,
        ConfigError,
        DataError,
        DivergedError,
        NnrayError,
        RunError,
        TrackingError,
        UserCodeError,
    )
    from nnray.runners.federated.result import FederatedResult
    from nnray.runners.results import RunResult
    from nnray.runners.sweep import SweepResult

# Read when torch is first loaded. Threads that spin while they wait are a little faster on an idle
# machine, and many times slower as soon as anything else runs on it: the next trial, say.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "ClusterError",
    "ConfigError",
    "DataError",
    "DataInfo",
    "DataSplits",
    "DivergedError",
    "Examples",
    "Experiment",
    "FederatedResult",
    "NnrayError",
    "RunError",
    "RunResult",
    "SweepResult",
    "TrackingError",
    "UserCodeError",
    "attack",
    "compare",
    "compress",
    "describe",
    "doctor",
    "ensemble",
    "evaluate",
    "explain",
    "export",
    "federate",
    "jobs",
    "list_models",
    "load",
    "predict",
    "promote",
    "report",
    "report_partition",
    "resume",
    "serve",
    "submit",
    "sweep",
    "sync",
    "train",
]

_HOMES = {
    "nnray.api": (
        "attack",
        "compare",
        "compress",
        "describe",
        "doctor",
        "ensemble",
        "evaluate",
        "explain",
        "export",
        "federate",
        "jobs",
        "list_models",
        "load",
        "predict",
        "promote",
        "report",
        "report_partition",
        "resume",
        "serve",
        "submit",
        "sweep",
        "sync",
        "train",
    ),
    "nnray.config": ("Experiment",),
    "nnray.data.splits": ("DataInfo", "DataSplits", "Examples"),
    "nnray.errors": (
        "CheckpointError",
        "ClusterError",
        "ConfigError",
        "DataError",
        "DivergedError",
        "NnrayError",
        "RunError",
        "TrackingError",
        "UserCodeError",
    ),
    "nnray.runners.federated.result": ("FederatedResult",),
    "nnray.runners.results": ("RunResult",),
    "nnray.runners.sweep": ("SweepResult",),
}


def __getattr__(name: str) -> object:
    """Fetch a public name (PEP 562)."""
    for home, names in _HOMES.items():
        if name in names:
            import importlib

            value: object = getattr(importlib.import_module(home), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'nnray' has no attribute {name!r}; it has: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
