"""The rating task: golden numbers, bounds, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnray.data.splits import DataInfo
from nnray.errors import ConfigError
from nnray.metrics import to_sums
from nnray.tasks.rating import Rating, rating

INFO = DataInfo("stars", (2,), (), targets="numbers")
OUTPUTS, TARGETS = torch.tensor([1.0, 3.0, 6.0, -1.0]), torch.tensor([2.0, 3.0, 4.0, 1.0])


def measured(task: Rating, outputs: torch.Tensor = OUTPUTS) -> dict[str, float]:
    return task.summarize(to_sums(task.eval_sums(outputs, TARGETS), len(TARGETS)))


def test_golden_numbers() -> None:
    """Errors are -1, 0, 2 and -2."""
    assert measured(rating(INFO)) == pytest.approx({"loss": 9 / 4, "rmse": 1.5, "mae": 5 / 4})
    assert float(rating(INFO).loss(OUTPUTS, TARGETS)) == pytest.approx(9 / 4)


def test_bounds_hold_for_errors_and_not_for_the_loss() -> None:
    """Within 0.5 and 5, errors are -1, 0, 1 and -0.5."""
    task = rating(INFO, lowest=0.5, highest=5.0)
    assert measured(task) == pytest.approx({"loss": 9 / 4, "rmse": (2.25 / 4) ** 0.5, "mae": 2.5 / 4})
    assert float(task.loss(OUTPUTS, TARGETS)) == pytest.approx(9 / 4)


@pytest.mark.parametrize(
    ("bound", "errors"), [({"lowest": 0.5}, [1, 0, 2, 0.5]), ({"highest": 5}, [1, 0, 1, 2])]
)
def test_one_bound_may_stand_alone(bound: dict[str, float], errors: list[float]) -> None:
    assert measured(rating(INFO, **bound))["mae"] == pytest.approx(sum(errors) / 4)


@given(shift=st.floats(-3, 3, width=32))
def test_the_root_is_never_below_the_mean_absolute_error(shift: float) -> None:
    found = measured(rating(INFO, lowest=0.5, highest=5.0), OUTPUTS + shift)
    assert found["rmse"] >= found["mae"] - 1e-9
    assert found["loss"] >= found["rmse"] ** 2 - 1e-6, "the bounds only bring answers nearer"


def test_the_loss_is_the_mean_of_what_examples_lose() -> None:
    losses, weights = rating(INFO).example_losses(OUTPUTS, TARGETS)
    assert weights is None
    assert losses.tolist() == [1, 0, 4, 4]


@pytest.mark.parametrize(
    ("info", "options", "problem"),
    [
        (
            DataInfo("a", (2,), ("x", "y")),
            {},
            r"needs one number for each example; a has class of shape \[\]",
        ),
        (DataInfo("a", (2,), (), targets="numbers", target_shape=(2,)), {}, r"a has numbers of shape \[2\]"),
        (INFO, {"lowest": 5.0, "highest": 5.0}, r"task\.lowest: got 5; allowed: below task\.highest, 5"),
    ],
)
def test_what_makes_no_sense_is_refused(info: DataInfo, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        rating(info, **options)
