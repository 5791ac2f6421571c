"""The classification task, against torchmetrics, torch, and loops over single examples."""

from __future__ import annotations

import math
import warnings
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, one_hot

from nnray.data.splits import DataInfo, TargetKind
from nnray.errors import ConfigError, DataError
from nnray.metrics import to_sums
from nnray.tasks.classification import (
    TASKS_OF,
    Classification,
    classification,
    confidence_bins,
    confusion_counts,
    target_ranks,
)
from nnray.tasks.confusion import calibration_error

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its dependencies warn on import
    from torchmetrics.functional import classification as oracle

SEEDS = st.integers(0, 2**32)
NUM_CLASSES = st.integers(2, 12)


def info(num_classes: int) -> DataInfo:
    return DataInfo("made up", (3,), tuple(f"c{label}" for label in range(num_classes)))


def task_of(num_classes: int, **options: Any) -> Classification:
    return classification(info(num_classes), **options)


def draw(seed: int, size: int, num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    outputs = 2 * torch.randn(size, num_classes, generator=rng)
    return outputs, torch.randint(num_classes, (size,), generator=rng)


def metrics_of(task: Classification, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    return task.summarize(to_sums(task.eval_sums(outputs, targets), len(targets)))


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, size=st.integers(1, 80), num_classes=NUM_CLASSES)
def test_metrics_agree_with_torchmetrics(seed: int, size: int, num_classes: int) -> None:
    outputs, targets = draw(seed, size, num_classes)
    got = metrics_of(task_of(num_classes, top_k=[2, 3]), outputs, targets)
    common = {"num_classes": num_classes}
    expected = {
        "accuracy": oracle.multiclass_accuracy(outputs, targets, average="micro", **common),
        "precision_macro": oracle.multiclass_precision(outputs, targets, average="macro", **common),
        "recall_macro": oracle.multiclass_recall(outputs, targets, average="macro", **common),
        "f1_macro": oracle.multiclass_f1_score(outputs, targets, average="macro", **common),
        "ece": oracle.multiclass_calibration_error(outputs.softmax(1), targets, n_bins=15, **common),
        "loss": cross_entropy(outputs, targets),
    }
    for k in (2, 3):
        if k < num_classes:
            expected[f"top{k}_accuracy"] = oracle.multiclass_accuracy(
                outputs, targets, average="micro", top_k=k, **common
            )
    for name, value in expected.items():
        assert got[name] == pytest.approx(float(value), abs=2e-6), name


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, size=st.integers(1, 50), num_classes=NUM_CLASSES)
def test_confusion_agrees_with_torchmetrics(seed: int, size: int, num_classes: int) -> None:
    outputs, targets = draw(seed, size, num_classes)
    counts = confusion_counts(outputs.argmax(1), targets, num_classes=num_classes)
    expected = oracle.multiclass_confusion_matrix(outputs, targets, num_classes=num_classes)
    assert counts.tolist() == expected.tolist()


def test_a_class_that_is_never_a_target_counts_only_where_it_is_predicted() -> None:
    targets = torch.tensor([0, 0, 1, 1])
    sure = 9.0 * one_hot(torch.tensor([0, 0, 1, 1]), 4)
    assert metrics_of(task_of(4), sure, targets)["f1_macro"] == 1.0
    wrong = 9.0 * one_hot(torch.tensor([0, 0, 1, 3]), 4)
    assert metrics_of(task_of(4), wrong, targets)["f1_macro"] == pytest.approx((1 + 2 / 3 + 0) / 3)


# --- soft targets -------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, size=st.integers(1, 30), num_classes=NUM_CLASSES)
def test_probabilities_of_one_class_are_the_same_as_its_label(seed: int, size: int, num_classes: int) -> None:
    outputs, targets = draw(seed, size, num_classes)
    soft = one_hot(targets, num_classes).float()
    task = task_of(num_classes, label_smoothing=0.1)
    hard_metrics, soft_metrics = (metrics_of(task, outputs, t) for t in (targets, soft))
    assert soft_metrics == pytest.approx(hard_metrics, rel=1e-5)
    torch.testing.assert_close(task.loss(outputs, soft), task.loss(outputs, targets))


def test_mixed_targets_weigh_the_loss_and_count_by_the_likeliest_class() -> None:
    outputs = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 3.0]])
    mixed = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.6, 0.4]])
    log_p = outputs.log_softmax(1)
    expected = -(mixed * log_p).sum(1).mean()
    task = task_of(3)
    torch.testing.assert_close(task.loss(outputs, mixed), expected)
    metrics = metrics_of(task, outputs, mixed)
    assert metrics["loss"] == pytest.approx(float(expected))
    assert metrics["accuracy"] == 0.5
    assert task.train_sums(outputs, mixed, expected)["correct"] == 1


# --- what belongs to learning only -------------------------------------------------------------------


def test_label_smoothing_and_weights_change_the_training_loss_alone() -> None:
    outputs, targets = draw(3, 40, 4)
    plain = task_of(4)
    for options in ({"label_smoothing": 0.2}, {"class_weights": [1.0, 2.0, 3.0, 4.0]}):
        other = task_of(4, **options)
        assert other.loss(outputs, targets) != plain.loss(outputs, targets)
        assert metrics_of(other, outputs, targets) == metrics_of(plain, outputs, targets)


def test_label_smoothing_is_the_loss_of_smoothed_targets() -> None:
    outputs, targets = draw(4, 20, 5)
    smoothed = 0.7 * one_hot(targets, 5) + 0.3 / 5
    expected = cross_entropy(outputs, smoothed)
    torch.testing.assert_close(task_of(5, label_smoothing=0.3).loss(outputs, targets), expected)


def test_class_weights_are_those_of_torch() -> None:
    outputs, targets = draw(5, 20, 3)
    expected = cross_entropy(outputs, targets, torch.tensor([0.5, 1.0, 4.0]))
    torch.testing.assert_close(task_of(3, class_weights=[0.5, 1.0, 4.0]).loss(outputs, targets), expected)


def test_a_wrong_number_of_class_weights_is_the_user_s_mistake() -> None:
    with pytest.raises(ConfigError, match=r"task.class_weights: got 2 weights for 3 classes"):
        task_of(3, class_weights=[1.0, 2.0])


# --- ranks ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(
    logits=st.lists(st.lists(st.integers(-2, 2), min_size=4, max_size=4), min_size=1, max_size=20),
    label=st.integers(0, 3),
)
def test_the_rank_is_the_place_in_a_stable_sort_also_with_ties(logits: list[list[int]], label: int) -> None:
    outputs = torch.tensor(logits, dtype=torch.float32)
    labels = torch.full((len(logits),), label)
    ranks = target_ranks(outputs, labels).tolist()
    places = [sorted(range(4), key=lambda k, row=row: (-row[k], k)).index(label) for row in logits]
    assert ranks == places
    assert [rank == 0 for rank in ranks] == (outputs.argmax(1) == labels).tolist()


def test_nan_is_no_hit() -> None:
    outputs = torch.full((3, 8), math.nan)
    metrics = metrics_of(task_of(8), outputs, torch.tensor([1, 2, 3]))
    assert metrics["top5_accuracy"] == metrics["accuracy"] == 0
    assert math.isnan(metrics["loss"])


def test_a_k_that_says_nothing_is_left_out() -> None:
    assert task_of(5, top_k=[7, 5, 2, 2]).top_k == (2,)
    assert "top5_accuracy" not in metrics_of(task_of(2), *draw(0, 9, 2))


# --- calibration -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, size=st.integers(1, 60), num_bins=st.integers(1, 20), scale=st.floats(0.1, 30))
def test_bins_agree_with_a_loop_over_examples(seed: int, size: int, num_bins: int, scale: float) -> None:
    outputs, targets = draw(seed, size, 4)
    outputs = outputs * scale
    hits = outputs.argmax(1) == targets
    expected = np.zeros((3, num_bins))
    edges = torch.linspace(0, 1, num_bins + 1)
    for confidence, hit in zip(outputs.softmax(1).amax(1), hits, strict=True):
        place = max(m for m in range(num_bins) if confidence > edges[m])
        expected[:, place] += (1, float(hit), float(confidence))
    got = confidence_bins(outputs, hits, num_bins=num_bins)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-6)


def test_a_confidence_of_one_is_in_the_last_bin() -> None:
    bins = confidence_bins(torch.tensor([[100.0, 0.0]]), torch.tensor([True]), num_bins=4)
    assert bins[:, -1].tolist() == [1, 1, 1]
    assert calibration_error(bins.numpy()) == 0


def test_half_precision_outputs_are_measured_in_full() -> None:
    outputs, targets = draw(6, 30, 4)
    half = outputs.bfloat16()
    assert metrics_of(task_of(4), half, targets) == metrics_of(task_of(4), half.float(), targets)


@pytest.mark.parametrize(
    ("targets", "task"),
    [("numbers", "regression, or forecasting"), ("classes", "segmentation"), ("boxes", "detection")],
)
def test_targets_that_are_no_class_are_refused_with_the_task_for_them(targets: TargetKind, task: str) -> None:
    asked = DataInfo("made up", (3,), ("a", "b"), targets=targets)
    with pytest.raises(
        DataError, match=rf"one class for each example, .*made up has .*kind {targets}: use task {task}"
    ):
        classification(asked)


def test_every_kind_of_targets_has_a_task_to_name() -> None:
    assert set(TASKS_OF) | {"class"} == set(get_args(TargetKind))
