"""Regression: golden figures, what is learnt by, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import huber_loss, l1_loss

from nnray.data.splits import DataInfo
from nnray.errors import ConfigError
from nnray.metrics import to_sums
from nnray.tasks.regression import Regression, regression

INFO = DataInfo("prices", (3,), (), targets="numbers", target_mean=(100.0,), target_std=(4.0,))
TWO = DataInfo(
    "two", (3,), (), targets="numbers", target_shape=(2,), target_mean=(5.0, -1.0), target_std=(1, 10)
)


def metrics(task: Regression, outputs: Any, targets: Any) -> dict[str, float]:
    x, y = torch.tensor(outputs), torch.tensor(targets)
    return task.summarize(to_sums(task.eval_sums(x, y), len(y)))


def test_figures_are_those_by_hand() -> None:
    """Errors 1, -1, 0, 4; targets 1, 2, 3, 6 around 3 with squares 4, 1, 0, 9."""
    found = metrics(regression(INFO), [2.0, 1.0, 3.0, 10.0], [1.0, 2.0, 3.0, 6.0])
    assert found == pytest.approx({"loss": 4.5, "mse": 4.5, "rmse": 4.5**0.5, "mae": 1.5, "r2": 1 - 18 / 14})


def test_figures_of_several_numbers_are_means_over_each_by_itself() -> None:
    """As scikit-learn's with multioutput="uniform_average"."""
    rng = np.random.default_rng(0)
    targets = rng.normal([5, -1], [1, 10], (50, 2)).astype(np.float32)
    outputs = (targets + rng.normal(0, 0.5, (50, 2))).astype(np.float32)
    found = metrics(regression(TWO), outputs, targets)
    errors = (targets - outputs).astype(np.float64)
    assert found["mse"] == pytest.approx((errors**2).mean(), rel=1e-5)
    assert found["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-5)
    shares = (errors**2).sum(0) / ((targets - targets.mean(0)) ** 2).sum(0)
    assert found["r2"] == pytest.approx((1 - shares).mean(), rel=1e-5)


def test_r2_keeps_its_digits_far_from_0() -> None:
    far = DataInfo("far", (3,), (), targets="numbers", target_mean=(1e6,), target_std=(1.0,))
    targets = 1e6 + torch.arange(64) / 16
    outputs = targets + 0.25
    expected = 1 - 64 * 0.25**2 / float((targets.double() - targets.double().mean()).square().sum())
    assert metrics(regression(far), outputs.tolist(), targets.tolist())["r2"] == pytest.approx(expected)


@pytest.mark.parametrize(("answer", "r2"), [(3.0, 1.0), (4.0, 0.0)])
def test_r2_of_targets_that_don_t_vary(answer: float, r2: float) -> None:
    assert metrics(regression(INFO), [answer, answer], [3.0, 3.0])["r2"] == r2


def test_answering_with_the_mean_has_r2_0() -> None:
    targets = [1.0, 2.0, 6.0]
    assert metrics(regression(INFO), [3.0] * 3, targets)["r2"] == pytest.approx(0)


@given(
    rows=st.lists(st.tuples(st.floats(-9, 9, width=32), st.floats(-9, 9, width=32)), min_size=1, max_size=20),
    delta=st.floats(0.1, 4),
)
@settings(max_examples=20, deadline=None)
def test_losses_are_torch_s_in_deviations(rows: list[tuple[float, float]], delta: float) -> None:
    outputs, targets = torch.tensor(rows).T
    scaled = outputs / 4, targets / 4
    close = {"rtol": 1e-4, "atol": 1e-5}
    squared = regression(INFO).loss(outputs, targets)
    torch.testing.assert_close(squared, (scaled[0] - scaled[1]).square().mean(), **close)
    absolute = regression(INFO, criterion="absolute").loss(outputs, targets)
    torch.testing.assert_close(absolute, l1_loss(*scaled), **close)
    huber = regression(INFO, criterion="huber", delta=delta).loss(outputs, targets)
    torch.testing.assert_close(huber, huber_loss(*scaled, delta=delta), **close)


def test_every_number_of_an_example_counts_in_its_own_deviations() -> None:
    outputs, targets = torch.tensor([[6.0, 9.0]]), torch.tensor([[5.0, -1.0]])
    assert float(regression(TWO).loss(outputs, targets)) == pytest.approx(1)
    assert metrics(regression(TWO), outputs.tolist(), targets.tolist())["mse"] == pytest.approx(50.5)


def test_what_is_reported_is_the_squared_error_whatever_is_learnt_by() -> None:
    outputs, targets = torch.tensor([104.0, 100.0]), torch.tensor([100.0, 100.0])
    for criterion in ("squared", "absolute", "huber"):
        task = regression(INFO, criterion=criterion)
        sums = to_sums(task.train_sums(outputs, targets, task.loss(outputs, targets)), 2)
        assert task.summarize_train(sums) == {"loss": 8.0}


def test_classes_are_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"people has class: take classification.*data\.target: number"):
        regression(DataInfo("people", (3,), ("no", "yes")))
