"""The record of runs: one Protocol, MLflow and memory behind it. The only package that imports MLflow."""

from nnray.tracking.memory import MemoryRun, MemoryTracker
from nnray.tracking.mlflow_tracker import MlflowTracker
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
    "resolve_uri",
]
