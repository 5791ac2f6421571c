"""Reductions of counts, against torchmetrics and against numbers worked out by hand."""

from __future__ import annotations

import math
import re
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnray.tasks.confusion import (
    NAMED_CLASSES,
    calibration_error,
    class_counts,
    confusion_metrics,
    metric_names,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its dependencies warn on import
    from torchmetrics.functional import classification as oracle

COUNTS = st.integers(2, 7).flatmap(lambda k: arrays(np.float64, (k, k), elements=st.integers(0, 5)))


def examples_of(confusion: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets and predictions that have this confusion matrix."""
    pairs = [
        (t, p) for t, row in enumerate(confusion) for p, count in enumerate(row) for _ in range(int(count))
    ]
    targets, predictions = zip(*pairs, strict=True)
    return torch.tensor(targets), torch.tensor(predictions)


def named(size: int) -> tuple[str, ...]:
    return tuple(f"c{label}" for label in range(size))


@settings(deadline=None, max_examples=100)
@given(confusion=COUNTS.filter(lambda c: c.sum() > 0))
@pytest.mark.parametrize("average", ["macro", "micro"])
def test_averages_agree_with_torchmetrics(average: str, confusion: np.ndarray) -> None:
    size = len(confusion)
    targets, predictions = examples_of(confusion)
    metrics = confusion_metrics(confusion, named(size))
    for name, function in (
        ("precision", oracle.multiclass_precision),
        ("recall", oracle.multiclass_recall),
        ("f1", oracle.multiclass_f1_score),
    ):
        expected = float(function(predictions, targets, num_classes=size, average=average))
        assert metrics[f"{name}_{average}"] == pytest.approx(expected, abs=1e-6)


@settings(deadline=None, max_examples=100)
@given(confusion=COUNTS.filter(lambda c: c.sum() > 0))
def test_by_class_agrees_with_torchmetrics(confusion: np.ndarray) -> None:
    size = len(confusion)
    targets, predictions = examples_of(confusion)
    counts = class_counts(confusion)
    for name, function in (
        ("precision", oracle.multiclass_precision),
        ("recall", oracle.multiclass_recall),
        ("f1", oracle.multiclass_f1_score),
    ):
        expected = function(predictions, targets, num_classes=size, average=None)
        np.testing.assert_allclose(getattr(counts, name), expected.numpy(), atol=1e-6)


def test_hand_worked_numbers() -> None:
    # Class 0: 2 hits of 3 targets and 2 predictions; class 1: 1 of 1 and 2; class 2 never occurs.
    confusion = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    metrics = confusion_metrics(confusion, ("cat", "dog", "bird"))
    assert metrics == pytest.approx(
        {
            "precision_macro": (1 + 1 / 2) / 2,
            "recall_macro": (2 / 3 + 1) / 2,
            "f1_macro": (4 / 5 + 2 / 3) / 2,
            "precision_micro": 3 / 4,
            "recall_micro": 3 / 4,
            "f1_micro": 3 / 4,
            "f1_class_cat": 4 / 5,
            "f1_class_dog": 2 / 3,
            "f1_class_bird": 0.0,
        }
    )


def test_averages_of_nothing_are_nan_or_zero_without_a_warning() -> None:
    metrics = confusion_metrics(np.zeros((2, 2)), named(2))
    assert math.isnan(metrics["f1_macro"])
    assert metrics["f1_micro"] == 0


@settings(deadline=None, max_examples=100)
@given(confusion=COUNTS.filter(lambda c: c.sum() > 0))
def test_micro_averages_are_the_accuracy(confusion: np.ndarray) -> None:
    metrics = confusion_metrics(confusion, named(len(confusion)))
    accuracy = float(np.trace(confusion) / confusion.sum())
    micro = [metrics[f"{name}_micro"] for name in ("precision", "recall", "f1")]
    assert micro == pytest.approx([accuracy] * 3)


@settings(deadline=None, max_examples=50)
@given(confusion=COUNTS.filter(lambda c: c.sum() > 0), factor=st.integers(2, 9))
def test_quotients_don_t_change_when_every_example_is_seen_several_times(
    confusion: np.ndarray, factor: int
) -> None:
    names = named(len(confusion))
    assert confusion_metrics(confusion * factor, names) == pytest.approx(confusion_metrics(confusion, names))


def test_many_classes_are_not_named_one_by_one() -> None:
    size = NAMED_CLASSES + 1
    assert len(confusion_metrics(np.eye(size), named(size))) == 6
    assert len(confusion_metrics(np.eye(size - 1), named(size - 1))) == 6 + size - 1


def test_calibration_error_by_hand() -> None:
    # Guo et al. 2017, eq. 3: (4 |3/4 - 3.6/4| + 6 |3/6 - 3.0/6|) / 10 = 0.06
    bins = np.array([[4.0, 6.0, 0.0], [3.0, 3.0, 0.0], [3.6, 3.0, 0.0]])
    assert calibration_error(bins) == pytest.approx(0.06)


def test_calibration_error_of_nothing_is_nan() -> None:
    assert math.isnan(calibration_error(np.zeros((3, 5))))


@settings(deadline=None, max_examples=200)
@given(classes=st.lists(st.text(max_size=130), min_size=1, max_size=8))
def test_names_are_distinct_and_made_of_what_mlflow_takes(classes: list[str]) -> None:
    names = metric_names(classes)
    assert len(names) == len(classes) == len(set(names))
    assert all(re.fullmatch(r"[/\w.\- ]+", f"f1_class_{name}") and len(name) < 150 for name in names)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (("cat", "dog"), ["cat", "dog"]),
        (("T-shirt/top", "Ankle boot"), ["T-shirt_top", "Ankle_boot"]),
        (("a b", "a_b", "c"), ["0_a_b", "1_a_b", "2_c"]),
        (("", "x"), ["_", "x"]),
        (("été", "猫"), ["été", "猫"]),
    ],
)
def test_names_keep_what_they_can(classes: tuple[str, ...], expected: list[str]) -> None:
    assert metric_names(classes) == expected
