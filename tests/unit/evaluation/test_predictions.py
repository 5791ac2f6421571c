"""Collecting predictions, the worst of them, and parting two classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from torch import Tensor, nn

from nnray.errors import DataError
from nnray.evaluation.predictions import Predictions, collect
from nnray.evaluation.threshold import CRITERIA, ThresholdBy, choose_threshold, with_threshold
from nnray.evaluation.wrong import WrongExample, most_wrong

Pair = tuple[Tensor, Tensor]


def batches(size: int, *, count: int = 20) -> Iterator[Pair]:
    rng = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(count, 3, generator=rng), torch.randint(4, (count,), generator=rng)
    yield from zip(inputs.split(size), targets.split(size), strict=True)


def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 8), nn.Dropout(), nn.Linear(8, 4))


@pytest.mark.parametrize("size", [1, 7, 20])
def test_batches_don_t_matter(size: int) -> None:
    whole, parts = (collect(model(), batches(n), where="here") for n in (20, size))
    torch.testing.assert_close(whole.logits, parts.logits)
    assert torch.equal(whole.targets, parts.targets)
    assert len(parts) == 20 and parts.num_classes == 4


def test_the_model_is_measured_as_it_is_used_and_left_as_it_was() -> None:
    net = model().train()
    first, again = (collect(net, batches(5), where="here") for _ in range(2))
    assert torch.equal(first.logits, again.logits)
    assert all(module.training for module in net.modules())
    assert not first.logits.requires_grad and not first.logits.is_inference()


def test_no_examples_are_refused() -> None:
    with pytest.raises(DataError, match="the test split: there are no examples"):
        collect(model(), [], where="the test split")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_answers_that_are_no_numbers_are_refused_and_counted(bad: float) -> None:
    class Broken(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            logits = torch.zeros(len(inputs), 2)
            logits[inputs[:, 0] > 1.5, 1] = bad
            return logits

    inputs = torch.tensor([[0.0], [2.0], [1.0], [3.0]])
    with pytest.raises(DataError, match=r"NaN or infinity for 2 of 4 examples, first for example 1;"):
        collect(Broken(), [(inputs, torch.zeros(4).long())], where="test")


def test_the_worst_come_first_and_hits_never() -> None:
    probabilities = torch.tensor([[0.9, 0.1, 0.0001], [0.2, 0.7, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    found = most_wrong(Predictions(probabilities.log(), torch.tensor([2, 1, 1, 0])))
    assert [(w.index, w.target, w.predicted) for w in found] == [(0, 2, 0), (3, 0, 2), (2, 1, 0)]
    assert found[1] == WrongExample(3, 0, 2, pytest.approx(0.8), pytest.approx(0.1))
    assert most_wrong(Predictions(probabilities.log(), torch.tensor([2, 1, 1, 0])), count=1) == found[:1]


def two_classes(seed: int, count: int, *, ties: bool) -> Predictions:
    rng = torch.Generator().manual_seed(seed)
    targets = (torch.rand(count, generator=rng) < 0.3).long()
    logits = torch.randn(count, 2, generator=rng)
    logits[:, 1] += targets
    return Predictions(logits.round() if ties else logits, targets)


ORACLES = {
    "accuracy": sk.accuracy_score,
    "balanced_accuracy": lambda y, p: (
        ((p[y == 1].mean() if (y == 1).any() else 0) + (1 - p[y == 0].mean() if (y == 0).any() else 0)) / 2
    ),
    "f1": lambda y, p: sk.f1_score(y, p, zero_division=0),
}


@settings(max_examples=60)
@given(
    by=st.sampled_from(get_args(ThresholdBy)),
    seed=st.integers(0, 10**6),
    count=st.integers(1, 60),
    ties=st.booleans(),
)
def test_no_other_threshold_is_better(by: ThresholdBy, seed: int, count: int, ties: bool) -> None:
    predictions = two_classes(seed, count, ties=ties)
    targets = predictions.targets.numpy()

    def value(threshold: float) -> float:
        return float(ORACLES[by](targets, with_threshold(predictions, threshold).predicted.numpy()))

    chosen = value(choose_threshold(predictions, by=by))
    others = [0.0, *predictions.probabilities[:, 1].tolist(), 1.1]
    assert chosen >= max(map(value, others)) - 1e-9


def test_criteria_are_those_that_are_known() -> None:
    assert set(CRITERIA) == set(ORACLES)


def test_of_equal_thresholds_the_middle_one_is_taken() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    predictions = Predictions(probabilities.log(), torch.tensor([0, 1]))
    assert choose_threshold(predictions, by="accuracy") == pytest.approx(0.45)
