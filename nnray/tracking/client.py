"""MLflow as nnray runs it: quiet, without telemetry, never unpickling, and with no retries of its own.

MLflow takes seconds to import, so nothing here does so before it is asked to. Its own retries block
for minutes and repeat requests that may have been heard, so they are off: the writer tries again, and
asks before it repeats. Whoever has set one of these variables keeps the value.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
_PREPARING = threading.Lock()
_NOISY = r"(alembic|mlflow|pydantic|sqlalchemy)\b"
_LEVELS = {
    "alembic": logging.WARNING,
    "mlflow.store.db.utils": logging.CRITICAL,
    "mlflow.utils.environment": logging.ERROR,
    "mlflow.utils.requirements_utils": logging.ERROR,
}


def set_environment() -> None:
    """Set the variables that MLflow reads, where they are not set."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def prepare() -> None:
    """Import MLflow, with its environment set and its noise off; in one thread at a time."""
    with _PREPARING:
        _prepare()


def _prepare() -> None:
    set_environment()
    warnings.filterwarnings("ignore", module=_NOISY)
    warnings.filterwarnings("ignore", message="The ``noload`` loader strategy is deprecated")
    import mlflow  # noqa: F401 (its loggers are set up on import)

    for name, level in _LEVELS.items():
        logging.getLogger(name).setLevel(level)


def make_client(uri: str) -> MlflowClient:
    """A client of one store, which touches no global state of MLflow's. Imports MLflow."""
    prepare()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)
