"""What holds for every test: a folder of its own, no network habits, the same examples each time."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before torch or Ray are imported anywhere: two cores are shared by all that runs beside a test.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="nnray-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID", "RAY_ADDRESS"):
    os.environ.pop(name, None)

import pytest  # noqa: E402 (the environment comes first)
from hypothesis import HealthCheck, settings  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile(
    "nnray",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("nnray")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture
def own_environment() -> Iterator[None]:
    """What a test leaves in the environment ends with it, also what undoing its patches brings back."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(autouse=True)
def own_folder(own_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, so that no test reads or writes the repository by accident."""
    monkeypatch.chdir(tmp_path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is quick, and needs no Ray, comes first."""
    items.sort(key=lambda item: not item.path.is_relative_to(ROOT / "tests" / "unit"))
