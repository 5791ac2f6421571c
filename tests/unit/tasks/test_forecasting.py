"""Forecasting: errors in standard units and in the data's, always beside the naive forecast."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, DataError
from nnray.evaluation.evaluate import evaluate
from nnray.metrics import mode_of, to_sums
from nnray.tasks.forecasting import Forecasting, forecasting, naive_seasonal

INFO = DataInfo(
    "made up", (2, 6), (), targets="numbers", target_shape=(1, 4), target_mean=(0.0,), target_std=(2.0,)
)
PAST = torch.tensor([[[1.0, 2, 3, 4, 5, 6], [9, 9, 9, 9, 9, 9]]])
TARGETS = torch.tensor([[[7.0, 8, 9, 10]]])


def measured(task: Forecasting, outputs: torch.Tensor) -> dict[str, float]:
    sums = task.eval_sums(outputs, TARGETS, inputs=PAST)
    return task.summarize(to_sums(sums, len(outputs)))


@pytest.mark.parametrize(
    ("season", "forecast"), [(1, [6, 6, 6, 6]), (3, [4, 5, 6, 4]), (4, [3, 4, 5, 6]), (6, [1, 2, 3, 4])]
)
def test_the_naive_forecast_repeats_the_last_season(season: int, forecast: list[float]) -> None:
    assert naive_seasonal(PAST, TARGETS, season=season).tolist() == [[forecast]]


def test_errors_are_those_worked_out_by_hand() -> None:
    """Errors 1, 0, -1, -2 in units, half of that in standard ones; naive ones 1, 2, 3, 4."""
    metrics = measured(forecasting(INFO), torch.tensor([[[8.0, 8, 8, 8]]]))
    assert metrics == pytest.approx(
        {
            "loss": 6 / 4 / 4,
            "mse": 6 / 4 / 4,
            "mae": 1 / 2,
            "mse_units": 6 / 4,
            "mae_units": 1.0,
            "naive_mse": 30 / 4 / 4,
            "naive_mae": 10 / 4 / 2,
            "mase": 1 / 2.5,
        }
    )


@pytest.mark.parametrize("season", [1, 3, 6])
def test_the_naive_forecast_has_a_scaled_error_of_one(season: int) -> None:
    task = forecasting(INFO, season=season)
    metrics = measured(task, naive_seasonal(PAST, TARGETS, season=season))
    assert metrics["mase"] == 1
    assert metrics["mse"] == metrics["naive_mse"] > 0


def test_a_perfect_naive_forecast_leaves_the_error_itself() -> None:
    still = torch.full((1, 2, 6), 7.0)
    task = forecasting(INFO)
    sums = task.eval_sums(TARGETS, torch.full((1, 1, 4), 7.0), inputs=still)
    metrics = task.summarize(to_sums(sums, 1))
    assert metrics["naive_mae"] == 0
    assert metrics["mase"] == metrics["mae"] == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("loss", "value"), [("mse", 6 / 16), ("mae", 0.5), ("huber", (3 * 0.125 * 2 / 3 + 0.375) / 4)]
)
def test_what_is_learnt_by_is_what_was_asked_for(loss: Any, value: float) -> None:
    """Standard errors 0.5, 0, -0.5, -1; of Huber with delta 0.5: 0.125, 0, 0.125, 0.5 (1 - 0.25)."""
    task = forecasting(INFO, loss=loss, delta=0.5)
    outputs = torch.tensor([[[8.0, 8, 8, 8]]], requires_grad=True)
    mean = task.loss(outputs, TARGETS)
    assert float(mean.detach()) == pytest.approx(value)
    assert measured(task, outputs.detach())["loss"] == pytest.approx(value)
    mean.backward()
    assert outputs.grad is not None
    assert outputs.grad.flatten().sign().tolist() == [1, 0, -1, -1]


def test_standard_units_don_t_depend_on_the_units_of_the_data() -> None:
    """Grams in place of kilograms change the errors in units alone."""
    task = forecasting(INFO)
    grams = replace(task, std=tuple(1000 * value for value in task.std))
    outputs = torch.tensor([[[8.0, 8, 8, 8]]])
    one = measured(task, outputs)
    sums = grams.eval_sums(1000 * outputs, 1000 * TARGETS, inputs=1000 * PAST)
    other = grams.summarize(to_sums(sums, 1))
    for name, value in one.items():
        factor = {"mse_units": 1e6, "mae_units": 1e3}.get(name, 1)
        assert other[name] == pytest.approx(factor * value), name


def test_all_metrics_are_better_when_smaller() -> None:
    assert {mode_of(f"val_{name}") for name in measured(forecasting(INFO), TARGETS)} == {"min"}


def test_evaluation_hands_the_past_on() -> None:
    class Last(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs[:, :1, -1:].expand(-1, -1, 4)

    task: Any = forecasting(INFO)
    sums = evaluate(Last(), [(PAST, TARGETS), (2 * PAST, TARGETS)], task)
    assert sums.count == 2
    assert task.summarize(sums)["mase"] == 1


@pytest.mark.parametrize(
    "info",
    [
        replace(INFO, targets="class"),
        replace(INFO, input_shape=(6,)),
        replace(INFO, target_shape=(3, 4)),
        replace(INFO, target_shape=(4,)),
    ],
)
def test_other_data_are_refused(info: DataInfo) -> None:
    with pytest.raises(DataError, match=r"task forecasting takes series .*made up"):
        forecasting(info)


def test_a_season_must_fit_into_the_past() -> None:
    with pytest.raises(ConfigError, match=r"task.season.*got 7 for windows of 6 steps; allowed: 1 to 6"):
        forecasting(INFO, season=7)
