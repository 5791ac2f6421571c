"""Laws that every sampler of the catalog obeys."""

from __future__ import annotations

import inspect
import json
import tracemalloc
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.catalog import CATALOG
from nnray.federated.sampling import Cohort

SAMPLERS = sorted(CATALOG["sampler"])
every_sampler = pytest.mark.parametrize("name", SAMPLERS)
FEW_THERE = 40


@pytest.fixture(autouse=True)
def trace_file(tmp_path: Path) -> None:
    """Rounds in which all of 1,000 are there, some, and nobody."""
    Path("all.json").write_text(json.dumps([list(range(1000)), list(range(0, 1000, 25)), []]))


def function(name: str) -> Any:
    module, _, attribute = CATALOG["sampler"][name].partition(":")
    return getattr(import_module(module), attribute)


def sample(name: str, *, seed: int = 0, num_clients: int = 1000, **runtime: Any) -> Cohort:
    taken = inspect.signature(function(name)).parameters
    given_ = {key: value for key, value in {"round": 1, **runtime}.items() if key in taken}
    options = {"file": "all.json"} if name == "trace" else {}
    made: Cohort = function(name)(num_clients, np.random.default_rng(seed), **options, **given_)
    return made


draws = st.fixed_dictionaries(
    {
        "cohort": st.one_of(st.integers(1, 1000), st.integers(1, 30)),
        "spare": st.integers(0, 1000),
        "seed": st.integers(0, 2**32),
        "round": st.integers(1, 3),
    }
)


@every_sampler
@given(draw=draws)
def test_ids_are_different_clients_and_the_chosen_ascending(name: str, draw: dict[str, int]) -> None:
    drawn = sample(name, **draw)
    both = np.concatenate([drawn.chosen, drawn.spares])
    assert drawn.chosen.dtype == drawn.spares.dtype == np.int64
    assert len(set(both.tolist())) == len(both)
    assert both.size == 0 or (both.min() >= 0 and both.max() < 1000)
    assert (np.diff(drawn.chosen) > 0).all()
    assert len(drawn) == len(drawn.chosen)


@every_sampler
@given(draw=draws)
def test_who_is_chosen_does_not_depend_on_the_spares(name: str, draw: dict[str, int]) -> None:
    without = sample(name, **{**draw, "spare": 0})
    drawn = sample(name, **draw)
    assert np.array_equal(drawn.chosen, without.chosen)
    fewer = sample(name, **{**draw, "spare": draw["spare"] // 2})
    assert np.array_equal(drawn.spares[: len(fewer.spares)], fewer.spares)


@every_sampler
def test_the_generator_alone_decides(name: str) -> None:
    one, again, other = (sample(name, seed=seed, cohort=100).chosen.tolist() for seed in (1, 1, 2))
    assert one == again != other


@every_sampler
def test_every_client_is_as_likely_as_any_other(name: str) -> None:
    """Counts over 4,000 rounds, within six standard deviations of their mean."""
    rng, counts = np.random.default_rng(5), np.zeros(50)
    Path("all.json").write_text(json.dumps([list(range(50))]))
    options = {"file": "all.json", "round": 1} if name == "trace" else {}
    for _ in range(4000):
        counts[function(name)(50, rng, cohort=10, **options).chosen] += 1
    assert abs(counts - 800).max() < 6 * np.sqrt(4000 * 0.2 * 0.8)


@every_sampler
def test_memory_is_of_the_cohort_and_not_of_a_million_clients(name: str) -> None:
    sample(name, num_clients=1_000_000, cohort=100)
    tracemalloc.start()
    try:
        sample(name, num_clients=1_000_000, cohort=100)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200_000, peak
