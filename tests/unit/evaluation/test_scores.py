"""Metrics against scikit-learn on random predictions: few classes, many, ties, classes that never occur."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from nnray.evaluation.curves import mean_curve, pr_curves, roc_curves
from nnray.evaluation.predictions import Predictions
from nnray.evaluation.scores import confusion_matrix, score, score_classes
from nnray.evaluation.threshold import with_threshold

CLOSE = {"rel": 0, "abs": 1e-6, "nan_ok": True}


def draw(seed: int, *, count: int, classes: int, occurring: int, ties: bool) -> Predictions:
    rng = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, classes, generator=rng)
    targets = torch.randperm(classes, generator=rng)[:occurring][
        torch.randint(occurring, (count,), generator=rng)
    ]
    return Predictions(logits.round() if ties else logits, targets)


random_predictions = st.builds(
    lambda seed, count, classes, share, ties: draw(
        seed, count=count, classes=classes, occurring=max(1, math.ceil(share * classes)), ties=ties
    ),
    seed=st.integers(0, 10**6),
    count=st.integers(1, 300),
    classes=st.integers(2, 12),
    share=st.floats(0.01, 1),
    ties=st.booleans(),
)


def quiet(metric: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """scikit-learn warns where classes don't occur."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return metric(*args, **options)


def oracle(predictions: Predictions) -> dict[str, float]:
    targets, predicted = predictions.targets.numpy(), predictions.predicted.numpy()
    rated, labels = predictions.probabilities.numpy(), list(range(predictions.num_classes))
    found = {
        "accuracy": sk.accuracy_score(targets, predicted),
        "balanced_accuracy": quiet(sk.balanced_accuracy_score, targets, predicted),
        "cohen_kappa": quiet(sk.cohen_kappa_score, targets, predicted),
        "mcc": quiet(sk.matthews_corrcoef, targets, predicted),
        "log_loss": sk.log_loss(targets, rated, labels=labels),
        "brier": sk.brier_score_loss(targets, rated if len(labels) > 2 else rated[:, 1], labels=labels),
    }
    for average in ("macro", "micro", "weighted"):
        scored = quiet(
            sk.precision_recall_fscore_support, targets, predicted, average=average, zero_division=0
        )
        found |= dict(zip((f"{n}_{average}" for n in ("precision", "recall", "f1")), scored, strict=False))
    if len(labels) > 5:
        found["top5_accuracy"] = sk.top_k_accuracy_score(targets, rated, k=5, labels=labels)
    return {name: float(value) for name, value in found.items()} | areas(predictions)


def areas(predictions: Predictions) -> dict[str, float]:
    """Of two classes scikit-learn's own; of more its mean over one-against-rest problems that are defined."""
    count = predictions.num_classes
    rated = predictions.probabilities.numpy()
    found = {}
    for name, metric in (("auroc", sk.roc_auc_score), ("average_precision", sk.average_precision_score)):
        defined = [
            metric((predictions.targets == k).numpy(), rated[:, k])
            for k in ([1] if count == 2 else range(count))
            if 0 < int((predictions.targets == k).sum()) < len(predictions)
        ]
        found[name] = float(np.mean(defined)) if defined else math.nan
    return found


@settings(max_examples=300)
@given(predictions=random_predictions)
def test_every_metric_is_scikit_learn_s(predictions: Predictions) -> None:
    got = score(predictions)
    expected = oracle(predictions)
    assert got.keys() == expected.keys()
    assert got == pytest.approx(expected, **CLOSE)


@settings(max_examples=60)
@given(predictions=random_predictions.filter(lambda p: p.num_classes == 2), threshold=st.floats(0, 1))
def test_so_is_every_metric_of_classes_parted_by_a_threshold(
    predictions: Predictions, threshold: float
) -> None:
    parted = with_threshold(predictions, threshold)
    assert parted.predicted.tolist() == (parted.probabilities[:, 1] >= threshold).long().tolist()
    assert score(parted) == pytest.approx(oracle(parted), **CLOSE)


@settings(max_examples=100)
@given(predictions=random_predictions)
def test_so_are_those_of_each_class(predictions: Predictions) -> None:
    targets, predicted = predictions.targets.numpy(), predictions.predicted.numpy()
    labels = list(range(predictions.num_classes))
    names = [f"c{k}" for k in labels]
    expected = sk.precision_recall_fscore_support(targets, predicted, labels=labels, zero_division=0)
    rows = score_classes(predictions, names)
    assert [row.name for row in rows] == names
    for row, precision, recall, f1, support in zip(rows, *expected, strict=True):
        assert (row.precision, row.recall, row.f1) == pytest.approx((precision, recall, f1), **CLOSE)
        assert row.support == support
    assert [row.predictions for row in rows] == np.bincount(predicted, minlength=len(labels)).tolist()


@settings(max_examples=100)
@given(predictions=random_predictions)
def test_areas_of_classes_that_are_undefined_are_nan(predictions: Predictions) -> None:
    rated = predictions.probabilities.numpy()
    for label, row in enumerate(score_classes(predictions, [str(k) for k in range(predictions.num_classes)])):
        is_class = (predictions.targets == label).numpy()
        if 0 < is_class.sum() < len(is_class):
            assert row.auroc == pytest.approx(sk.roc_auc_score(is_class, rated[:, label]), **CLOSE)
            expected = sk.average_precision_score(is_class, rated[:, label])
            assert row.average_precision == pytest.approx(expected, **CLOSE)
        else:
            assert math.isnan(row.auroc) and math.isnan(row.average_precision)


@settings(max_examples=50)
@given(predictions=random_predictions)
def test_the_confusion_matrix_is_scikit_learn_s(predictions: Predictions) -> None:
    expected = quiet(
        sk.confusion_matrix,
        predictions.targets.numpy(),
        predictions.predicted.numpy(),
        labels=list(range(predictions.num_classes)),
    )
    assert confusion_matrix(predictions).tolist() == expected.tolist()


def test_macro_auroc_is_scikit_learn_s_own_where_all_classes_occur() -> None:
    predictions = draw(3, count=500, classes=7, occurring=7, ties=True)
    rated, targets = predictions.probabilities.numpy(), predictions.targets.numpy()
    expected = sk.roc_auc_score(targets, rated, multi_class="ovr")
    assert score(predictions)["auroc"] == pytest.approx(expected, abs=1e-6)


def test_large_counts_lose_nothing() -> None:
    predictions = draw(5, count=200_000, classes=4, occurring=4, ties=False)
    assert score(predictions) == pytest.approx(oracle(predictions), **CLOSE)


@settings(max_examples=40)
@given(predictions=random_predictions)
def test_roc_curves_are_scikit_learn_s(predictions: Predictions) -> None:
    for curve in roc_curves(predictions):
        assert curve.label is not None
        is_class = (predictions.targets == curve.label).numpy()
        rated = predictions.probabilities[:, curve.label].numpy()
        x, y, _ = sk.roc_curve(is_class, rated, drop_intermediate=False)
        np.testing.assert_allclose(curve.x, x, atol=1e-6)
        np.testing.assert_allclose(curve.y, y, atol=1e-6)


@settings(max_examples=40)
@given(predictions=random_predictions)
def test_pr_curves_have_scikit_learn_s_area(predictions: Predictions) -> None:
    for curve in pr_curves(predictions):
        assert curve.label is not None
        is_class = (predictions.targets == curve.label).numpy()
        expected = sk.average_precision_score(is_class, predictions.probabilities[:, curve.label].numpy())
        assert (np.diff(curve.x) >= 0).all()
        assert float(np.sum(np.diff(curve.x) * curve.y[1:])) == pytest.approx(expected, abs=1e-5)


def test_two_classes_have_one_curve_and_it_is_the_second_s() -> None:
    predictions = draw(0, count=40, classes=2, occurring=2, ties=False)
    assert [curve.label for curve in roc_curves(predictions) + pr_curves(predictions)] == [1, 1]


def test_a_mean_curve_has_the_mean_area() -> None:
    predictions = draw(1, count=3000, classes=5, occurring=5, ties=False)
    mean = mean_curve(roc_curves(predictions))
    assert float(np.trapezoid(mean.y, mean.x)) == pytest.approx(score(predictions)["auroc"], abs=2e-3)
    steps = mean_curve(pr_curves(predictions), steps=True)
    assert float(steps.y[1:].mean()) == pytest.approx(score(predictions)["average_precision"], abs=5e-3)


def test_a_thinned_curve_keeps_its_ends() -> None:
    curve = roc_curves(draw(1, count=3000, classes=2, occurring=2, ties=False))[0]
    thin = curve.thinned(50)
    assert len(thin.x) == 50
    assert (thin.x[0], thin.y[0], thin.x[-1], thin.y[-1]) == (0, 0, 1, 1)
    assert len(thin.to_dict()["x"]) == 50  # type: ignore[arg-type]
