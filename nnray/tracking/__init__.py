"""The record of runs: one Protocol, MLflow and memory behind it. The only package that imports MLflow."""

from nnray.tracking.memory import MemoryRun, MemoryTracker
from nnray.tracking.mlflow_tracker import MlflowTracker, open_tracker
from nnray.tracking.store import check, resolve_uri
from nnray.tracking.tracker import MetricRow, ModelRecord, Tracker

__all__ = [
    "MemoryRun",
    "MemoryTracker",
    "MetricRow",
    "MlflowTracker",
    "ModelRecord",
    "Tracker",
    "check",
    "open_tracker",
    "resolve_uri",
]
