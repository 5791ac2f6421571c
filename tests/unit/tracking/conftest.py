"""A store with MLflow's tables in it, made once: each test copies it in a millisecond."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data base with MLflow's tables and nothing else."""
    from nnray.tracking.client import make_client

    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    make_client(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def store_uri(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of an empty store of the test's own, which is also MLflow's default."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return uri
