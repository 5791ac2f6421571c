"""Sweeps without Ray and torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.sweep.bench import Bench, make_experiment


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Bench]:
    """Makes a conductor whose sweep has these fields."""

    def make(*, clock: Callable[[], float] = lambda: 0.0, **sweep: Any) -> Bench:
        folder = tmp_path / f"sweep{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return Bench(make_experiment(**{"search": "random", **sweep}), folder, clock=clock)

    return make
