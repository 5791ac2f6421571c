"""How evenly clients are served: known values, and the bounds of Jain's index."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.federated.fairness import spread

values = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def test_known_values() -> None:
    """Twenty clients from 0.05 to 1: the worst tenth are two."""
    found = spread([i / 20 for i in range(1, 21)])
    assert found["mean"] == pytest.approx(0.525)
    assert found["worst10"] == pytest.approx((0.05 + 0.1) / 2)
    assert found["variance"] == pytest.approx(np.var(np.arange(1, 21) / 20))
    assert found["jain"] == pytest.approx(0.525**2 / np.mean((np.arange(1, 21) / 20) ** 2))


@given(values)
def test_the_worst_are_no_better_than_the_mean(found: list[float]) -> None:
    assert spread(found)["worst10"] <= spread(found)["mean"] + 1e-12
    assert spread(found, higher_is_better=False)["worst10"] >= spread(found)["mean"] - 1e-12


@given(values)
def test_jain_is_between_one_over_n_and_one(found: list[float]) -> None:
    assert 1 / len(found) - 1e-9 <= spread(found)["jain"] <= 1 + 1e-9


def test_alike_is_fair_and_one_that_has_all_is_not() -> None:
    assert spread([0.3] * 7)["jain"] == pytest.approx(1)
    assert spread([0.0, 0.0, 0.0, 0.8])["jain"] == pytest.approx(1 / 4)
    assert spread([0.0, 0.0])["jain"] == 1.0


@given(values)
def test_order_is_no_matter(found: list[float]) -> None:
    assert spread(found) == pytest.approx(spread(found[::-1]))


def test_one_client_is_its_own_worst() -> None:
    assert spread([0.4]) == pytest.approx({"mean": 0.4, "worst10": 0.4, "variance": 0.0, "jain": 1.0})
