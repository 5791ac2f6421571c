"""Weights of classes: as they are given, or by how rare each is among what is learnt from."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from nnray.config import parse
from nnray.data.splits import DataInfo
from nnray.errors import ConfigError
from nnray.tasks.class_weights import balanced, weights_of
from nnray.tasks.classification import classification

Counts = st.lists(st.integers(1, 50), min_size=2, max_size=8)


def info(*counts: int) -> DataInfo:
    return DataInfo("mine", (3,), tuple(f"c{label}" for label in range(len(counts))), class_counts=counts)


def targets_of(counts: list[int]) -> torch.Tensor:
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


@given(Counts)
def test_all_classes_weigh_as_much_together_and_examples_1_on_average(counts: list[int]) -> None:
    totals = [count * weight for count, weight in zip(counts, balanced(counts), strict=True)]
    assert totals == pytest.approx([sum(counts) / len(counts)] * len(counts))
    assert sum(totals) == pytest.approx(sum(counts))


@given(Counts)
def test_they_are_those_of_scikit_learn(counts: list[int]) -> None:
    import numpy as np
    from sklearn.utils.class_weight import compute_class_weight

    labels = targets_of(counts).numpy()
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    assert balanced(counts) == pytest.approx(expected.tolist())


@given(Counts, st.floats(0, 3))
def test_whoever_knows_nothing_is_drawn_to_no_class(counts: list[int], gamma: float) -> None:
    """At equal logits the pulls of all classes cancel out; without weights the largest class wins."""
    task, targets = (
        classification(info(*counts), class_weights="balanced", focal_gamma=gamma),
        targets_of(counts),
    )
    outputs = torch.zeros(len(targets), len(counts), requires_grad=True)
    task.loss(outputs, targets).backward()
    assert outputs.grad is not None
    assert outputs.grad.sum(0).abs().max() < 1e-6


def test_the_loss_is_that_of_torch_with_such_weights_and_what_is_reported_is_plain() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(8, 3, generator=generator), torch.tensor([0, 0, 0, 0, 0, 1, 1, 2])
    task, plain = classification(info(10, 4, 1), class_weights="balanced"), classification(info(10, 4, 1))
    assert task.class_weights == pytest.approx((0.5, 1.25, 5.0))
    expected = cross_entropy(outputs, targets, torch.tensor([0.5, 1.25, 5.0]))
    torch.testing.assert_close(task.loss(outputs, targets), expected)
    assert task.loss(outputs, targets) != plain.loss(outputs, targets)
    torch.testing.assert_close(task.eval_sums(outputs, targets), plain.eval_sums(outputs, targets))


def test_a_class_without_examples_changes_nothing_for_the_others() -> None:
    assert balanced((6, 0, 2)) == (8 / 2 / 6, 1, 8 / 2 / 2)


def test_a_class_without_examples_does_not_rule_where_labels_are_smoothed() -> None:
    task = classification(info(500, 500, 0), class_weights="balanced", label_smoothing=0.1)
    outputs = torch.zeros(2, 3, requires_grad=True)
    task.loss(outputs, torch.tensor([0, 1])).backward()
    assert outputs.grad is not None
    assert outputs.grad[0, 0] < 0 < outputs.grad[0, 2]


def test_given_weights_stay_as_they_are() -> None:
    assert weights_of([1, 2.5, 3], info(10, 4, 1)) == (1.0, 2.5, 3.0)
    assert weights_of([1, 2.5], DataInfo("mine", (3,), ("a", "b"))) == (1.0, 2.5)


def test_counts_that_nobody_knows_are_asked_for() -> None:
    with pytest.raises(
        ConfigError, match=r"class_weights: balanced needs .* not known of data set mine: .*give a"
    ):
        classification(DataInfo("mine", (3,), ("a", "b")), class_weights="balanced")


@pytest.mark.parametrize(("value", "why"), [("even", "or balanced"), ([1, 0], "above 0"), (3, "or balanced")])
def test_an_experiment_takes_balanced_or_a_list(value: object, why: str) -> None:
    tree = {"name": "x", "data": "digits", "model": "mlp"}
    made = parse({**tree, "task": {"name": "classification", "class_weights": "balanced"}})
    assert made.task.kwargs["class_weights"] == "balanced"
    with pytest.raises(ConfigError, match=f"task.class_weights.*{why}"):
        parse({**tree, "task": {"name": "classification", "class_weights": value}})
