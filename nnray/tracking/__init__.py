"""The record of runs: one Protocol, MLflow and memory behind it. The only package that imports MLflow."""

from nnray.tracking.disk_spool import DiskSpool
from nnray.tracking.memory import MemoryRun, MemoryTracker
from nnray.tracking.mlflow_tracker import MlflowTracker
from nnray.tracking.store import Store, check, resolve_uri
from nnray.tracking.tracker import MetricRow, ModelRecord, Tracker

__all__ = [
    "DiskSpool",
    "MemoryRun",
    "MemoryTracker",
    "MetricRow",
    "MlflowTracker",
    "ModelRecord",
    "Store",
    "Tracker",
    "check",
    "resolve_uri",
]
