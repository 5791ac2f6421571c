"""Segmentation against hand-computed numbers and a slow oracle."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from nnray.data.splits import NO_CLASS, DataInfo
from nnray.errors import ConfigError, DataError
from nnray.metrics import merge, mode_of, to_sums
from nnray.tasks.segmentation import intersection_over_union, segmentation

INFO = DataInfo("made up", (1, 2, 3), ("ground", "a b", "c"), targets="classes", target_shape=(2, 3))


def logits_of(predicted: torch.Tensor, sure: float = 20.0) -> torch.Tensor:
    return sure * torch.nn.functional.one_hot(predicted, 3).movedim(-1, 1).float()


def test_metrics_are_those_computed_by_hand() -> None:
    targets = torch.tensor([[[0, 0, 1], [1, 1, NO_CLASS]]])
    predicted = torch.tensor([[[0, 1, 1], [1, 0, 2]]])
    task = segmentation(INFO)
    metrics = task.summarize(to_sums(task.eval_sums(logits_of(predicted), targets), 1))
    assert metrics["accuracy"] == pytest.approx(3 / 5)
    assert metrics["iou_class_ground"] == pytest.approx(1 / 3)
    assert metrics["iou_class_a_b"] == pytest.approx(2 / 4)
    assert metrics["iou_class_c"] == 0
    assert metrics["mean_iou"] == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert metrics["loss"] == pytest.approx(2 * 20 / 5, rel=1e-6)


def test_a_class_that_is_only_predicted_counts_as_nothing_found() -> None:
    confusion = torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]).double().numpy()
    by_class, occurs = intersection_over_union(confusion)
    assert by_class.tolist() == [0.75, 0, 0]
    assert occurs.tolist() == [True, True, False]


def test_iou_equals_that_of_sets_of_places() -> None:
    rng = torch.Generator().manual_seed(0)
    targets = torch.randint(3, (7, 2, 3), generator=rng)
    outputs = torch.randn(7, 3, 2, 3, generator=rng)
    task = segmentation(INFO)
    metrics = task.summarize(to_sums(task.eval_sums(outputs, targets), 7))
    predicted = outputs.argmax(1)
    for label, name in enumerate(("ground", "a_b", "c")):
        of_target = {i for i, value in enumerate(targets.flatten().tolist()) if value == label}
        of_output = {i for i, value in enumerate(predicted.flatten().tolist()) if value == label}
        assert metrics[f"iou_class_{name}"] == pytest.approx(
            len(of_target & of_output) / len(of_target | of_output)
        )


def test_batches_with_few_places_that_count_weigh_little() -> None:
    """Sums go over places: cutting the set otherwise changes nothing."""
    rng = torch.Generator().manual_seed(1)
    targets = torch.randint(3, (6, 2, 3), generator=rng)
    targets[:3, 0] = NO_CLASS
    outputs = torch.randn(6, 3, 2, 3, generator=rng)
    task = segmentation(INFO)
    parts = merge(to_sums(task.eval_sums(outputs[a:b], targets[a:b]), b - a) for a, b in ((0, 3), (3, 6)))
    assert task.summarize(parts)["loss"] == pytest.approx(
        float(cross_entropy(outputs, targets, ignore_index=NO_CLASS)), rel=1e-6
    )


@pytest.mark.parametrize("weights", [None, (1.0, 5.0, 0.5)])
def test_loss_is_torchs_mean_over_places(weights: tuple[float, ...] | None) -> None:
    rng = torch.Generator().manual_seed(2)
    targets = torch.randint(3, (4, 2, 3), generator=rng)
    targets[1, 1] = NO_CLASS
    outputs = torch.randn(4, 3, 2, 3, generator=rng)
    task = segmentation(INFO, class_weights=weights)
    wanted = cross_entropy(
        outputs, targets, None if weights is None else torch.tensor(weights), ignore_index=NO_CLASS
    )
    torch.testing.assert_close(task.loss(outputs, targets), wanted)


@pytest.mark.parametrize("weights", [None, (1.0, 5.0, 0.5)])
def test_a_batch_without_a_place_that_counts_has_no_loss_and_no_gradient(
    weights: tuple[float, ...] | None,
) -> None:
    outputs = torch.randn(2, 3, 2, 3, requires_grad=True)
    targets = torch.full((2, 2, 3), NO_CLASS)
    task = segmentation(INFO, class_weights=weights)
    loss = task.loss(outputs, targets)
    loss.backward()
    assert float(loss.detach()) == 0
    assert outputs.grad is not None and not outputs.grad.any()
    metrics = task.summarize(to_sums(task.eval_sums(outputs.detach(), targets), 2))
    assert all(math.isfinite(value) for value in metrics.values())


def test_weights_belong_to_training_alone() -> None:
    plain, weighted = segmentation(INFO), segmentation(INFO, class_weights=(1, 9, 1))
    outputs, targets = torch.randn(2, 3, 2, 3), torch.randint(3, (2, 2, 3))
    one, other = (task.eval_sums(outputs, targets) for task in (plain, weighted))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert not torch.equal(plain.loss(outputs, targets), weighted.loss(outputs, targets))


def test_more_is_better_but_for_the_loss() -> None:
    task = segmentation(INFO)
    metrics = task.summarize(to_sums(task.eval_sums(torch.randn(2, 3, 2, 3), torch.ones(2, 2, 3).long()), 2))
    assert {name for name in metrics if mode_of(name) == "min"} == {"loss"}


def test_other_targets_and_other_numbers_of_weights_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"needs a class for each place.*kind class: use a data set with masks"
    ):
        segmentation(dataclasses.replace(INFO, targets="class", target_shape=()))
    with pytest.raises(ConfigError, match="got 2 weights for 3 classes"):
        segmentation(INFO, class_weights=(1, 2))
