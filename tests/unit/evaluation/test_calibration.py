"""Calibration: bins by hand, and a temperature that is the least loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from nnray.evaluation.calibration import Temperature, fit_temperature, reliability
from nnray.evaluation.predictions import Predictions
from nnray.evaluation.scores import score
from nnray.evaluation.threshold import with_threshold


def overconfident(seed: int = 0, *, factor: float = 3.0, count: int = 4000, classes: int = 5) -> Predictions:
    """Targets drawn from the logits' own probabilities, and the logits then stretched."""
    rng = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, classes, generator=rng)
    targets = torch.multinomial(logits.softmax(1), 1, generator=rng)[:, 0]
    return Predictions(logits * factor, targets)


def of_probabilities(rows: list[list[float]], targets: list[int]) -> Predictions:
    return Predictions(torch.tensor(rows).log(), torch.tensor(targets))


def test_bins_by_hand() -> None:
    found = reliability(
        of_probabilities([[0.9, 0.1], [0.95, 0.05], [0.6, 0.4], [0.45, 0.55]], [0, 1, 0, 0]), bins=10
    )
    assert found.count.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 1, 1]
    assert found.accuracy.tolist() == [0, 0, 0, 0, 0, 0.5, 0, 0, 1, 0]
    np.testing.assert_allclose(found.confidence[[5, 8, 9]], [0.575, 0.9, 0.95], rtol=1e-6)
    assert found.ece == pytest.approx((2 * 0.075 + 0.1 + 0.95) / 4, abs=1e-6)
    assert found.mce == pytest.approx(0.95, abs=1e-6)


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_the_expected_error_is_torchmetrics(factor: float) -> None:
    from torchmetrics.functional.classification import multiclass_calibration_error

    predictions = overconfident(factor=factor)
    for norm, got in (("l1", reliability(predictions).ece), ("max", reliability(predictions).mce)):
        expected = multiclass_calibration_error(
            predictions.probabilities, predictions.targets, num_classes=5, n_bins=15, norm=norm
        )
        assert got == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
def test_the_temperature_undoes_a_stretch(factor: float) -> None:
    found = fit_temperature(overconfident(factor=factor))
    assert found.value == pytest.approx(factor, rel=0.06)
    assert (found.at_bound, found.num_examples) == (False, 4000)


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), factor=st.floats(0.2, 5), count=st.integers(20, 300))
def test_the_temperature_has_the_least_loss(seed: int, factor: float, count: int) -> None:
    predictions = overconfident(seed, factor=factor, count=count)

    def loss(log_temperature: float) -> float:
        return float(predictions.scaled(float(np.exp(log_temperature))).losses.mean())

    oracle = minimize_scalar(loss, bounds=(np.log(0.01), np.log(100)), method="bounded")
    assert loss(np.log(fit_temperature(predictions).value)) <= float(oracle.fun) + 1e-7


def test_other_examples_are_better_calibrated_and_put_in_the_same_classes() -> None:
    fitted_on, measured = overconfident(0), overconfident(1)
    after = measured.scaled(fit_temperature(fitted_on).value)
    assert reliability(measured).ece > 0.15
    assert reliability(after).ece < 0.03
    assert score(after)["log_loss"] < score(measured)["log_loss"]
    assert torch.equal(after.predicted, measured.predicted)


def test_where_all_are_hits_the_bound_is_said() -> None:
    sure = Predictions(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1]))
    assert fit_temperature(sure) == Temperature(0.01, True, 2)
    hopeless = Predictions(sure.logits, 1 - sure.targets)
    assert fit_temperature(hopeless) == Temperature(100.0, True, 2)


def test_the_likelier_class_counts_whatever_the_threshold() -> None:
    predictions = overconfident(classes=2)
    assert reliability(with_threshold(predictions, 0.99)).to_dict() == reliability(predictions).to_dict()
