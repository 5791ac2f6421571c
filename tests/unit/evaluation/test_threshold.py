"""A threshold of tempered probabilities parts examples as its own of the model's probabilities does."""

from __future__ import annotations

import math

import pytest
import torch

from nnray.evaluation.predictions import Predictions
from nnray.evaluation.threshold import choose_threshold, untempered, with_threshold


@pytest.mark.parametrize("temperature", [0.2, 0.9, 1.0, 4.0])
@pytest.mark.parametrize("by", ["accuracy", "f1", "balanced_accuracy"])
def test_both_part_the_same_examples(temperature: float, by: str) -> None:
    draw = torch.Generator().manual_seed(0)
    targets = (torch.rand(200, generator=draw) < 0.3).long()
    logits = torch.randn(200, 2, generator=draw) + targets[:, None] * torch.tensor([0.0, 1.0])
    plain = Predictions(logits, targets)
    chosen = choose_threshold(plain.scaled(temperature), by=by)  # type: ignore[arg-type]
    own = with_threshold(plain, untempered(chosen, temperature))
    assert torch.equal(own.predicted, with_threshold(plain.scaled(temperature), chosen).predicted)
    assert 0 < int(own.predicted.sum()) < 200


@pytest.mark.parametrize("edge", [0.0, 1.0, math.nextafter(1.0, 2.0)])
def test_all_and_none_stay_so(edge: float) -> None:
    assert untempered(edge, 3.0) == edge


def test_one_half_stays_and_a_high_temperature_widens() -> None:
    """By hand: odds of 3 at a temperature of 2 were odds of 9."""
    assert untempered(0.5, 7.0) == 0.5
    assert untempered(0.75, 2.0) == pytest.approx(0.9)
    assert untempered(0.25, 2.0) == pytest.approx(0.1)
