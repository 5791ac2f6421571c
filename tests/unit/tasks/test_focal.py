"""Focal loss: its formula in a loop, its limits, and what the task makes of it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from nnray.metrics import to_sums
from nnray.tasks.classification import Classification
from nnray.tasks.focal import focal_losses

CLASSES = ("a", "b", "c")
WEIGHTS = (0.5, 1.0, 3.0)


def draw(size: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return 2 * torch.randn(size, 3, generator=rng), torch.randint(3, (size,), generator=rng)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_it_is_the_formula_of_the_paper(gamma: float) -> None:
    outputs, targets = draw()
    losses = focal_losses(outputs, targets, gamma=gamma, class_weights=WEIGHTS)
    for logits, label, loss in zip(outputs.tolist(), targets.tolist(), losses.tolist(), strict=True):
        p = math.exp(logits[label]) / sum(map(math.exp, logits))
        assert loss == pytest.approx(-WEIGHTS[label] * (1 - p) ** gamma * math.log(p), rel=1e-4)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_without_gamma_it_is_cross_entropy(mixed: bool, smoothing: float, weights: Any) -> None:
    outputs, targets = draw()
    targets = outputs.flip(0).softmax(1) if mixed else targets
    got = focal_losses(outputs, targets, gamma=0.0, class_weights=weights, label_smoothing=smoothing)
    weight = None if weights is None else torch.tensor(weights)
    wanted = cross_entropy(outputs, targets, weight, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_certain_examples_have_finite_slopes(gamma: float) -> None:
    outputs = torch.tensor([[200.0, 0, 0], [0, 0, 200.0]], requires_grad=True)
    focal_losses(outputs, torch.tensor([0, 0]), gamma=gamma).sum().backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()
    assert outputs.grad[0].abs().max() < 1e-3 < outputs.grad[1].abs().max()


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("mixed", [False, True])
def test_the_task_s_loss_is_the_weighted_mean_of_examples(weights: Any, mixed: bool) -> None:
    outputs, targets = draw()
    targets = outputs.flip(0).softmax(1) if mixed else targets
    task = Classification(CLASSES, focal_gamma=2.0, class_weights=weights)
    losses, of = task.example_losses(outputs, targets)
    torch.testing.assert_close(task.loss(outputs, targets), losses.sum() / (9 if of is None else of.sum()))
    assert not torch.allclose(task.loss(outputs, targets), Classification(CLASSES).loss(outputs, targets))


def test_what_is_reported_stays_plain_cross_entropy() -> None:
    outputs, targets = draw()
    plain, focal = Classification(CLASSES), Classification(CLASSES, focal_gamma=2.0)
    found = [task.summarize(to_sums(task.eval_sums(outputs, targets), 9)) for task in (plain, focal)]
    assert found[0] == found[1]
