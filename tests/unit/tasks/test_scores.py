"""AUROC, AUPRC and KS of two classes from bins, against scikit-learn and golden numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from nnray.metrics import mode_of, to_sums
from nnray.tasks.classification import Classification
from nnray.tasks.scores import score_counts, score_metrics

NAMES = ("auroc", "auprc", "ks")


def measured(scores: torch.Tensor, labels: torch.Tensor, *, num_bins: int = 2048) -> dict[str, float]:
    logits = torch.stack([-scores / 2, scores / 2], dim=1)
    return score_metrics(score_counts(logits, labels, num_bins=num_bins).double().numpy())


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32), size=st.integers(4, 200), scale=st.sampled_from([0.05, 1.0, 8.0]))
def test_scores_in_bins_of_their_own_give_the_exact_metrics(seed: int, size: int, scale: float) -> None:
    """Scores are put onto middles of bins, so that ties are those of the bins."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (size,), generator=rng)
    labels[:2] = torch.tensor([0, 1])
    drawn = torch.randn(size, generator=rng) * scale + labels * scale
    width = 2 * math.asinh(2560) / 2048
    scores = torch.sinh(((torch.asinh(drawn * 64) / width).floor() + 0.5) * width) / 64
    got, y, s = measured(scores, labels), labels.numpy(), scores.numpy()
    false, true, _ = roc_curve(y, s)
    assert got["auroc"] == pytest.approx(roc_auc_score(y, s), abs=1e-9)
    assert got["auprc"] == pytest.approx(average_precision_score(y, s), abs=1e-9)
    assert got["ks"] == pytest.approx(float(np.abs(true - false).max()), abs=1e-9)


@pytest.mark.parametrize("scale", [0.02, 1.0, 10.0])
def test_bins_cost_less_than_a_thousandth_of_what_scores_say(scale: float) -> None:
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (5000,), generator=rng)
    scores = (torch.randn(5000, generator=rng) + labels) * scale
    got, y, s = measured(scores, labels), labels.numpy(), scores.numpy()
    assert got["auroc"] == pytest.approx(roc_auc_score(y, s), abs=1e-3)
    assert got["auprc"] == pytest.approx(average_precision_score(y, s), abs=1e-3)


def test_golden_numbers() -> None:
    """The example of scikit-learn's own documentation."""
    got = measured(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1]))
    assert got == pytest.approx({"auroc": 0.75, "auprc": 0.8333333, "ks": 0.5})


def test_the_order_alone_counts() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    assert measured(torch.tensor([-9.0, -1, 2, 30]), labels) == {"auroc": 1, "auprc": 1, "ks": 1}
    turned = measured(torch.tensor([9.0, 1, -2, -30]), labels)
    assert turned == pytest.approx({"auroc": 0, "auprc": (1 / 3 + 2 / 4) / 2, "ks": 1})


def test_scores_that_are_all_alike_say_nothing() -> None:
    got = measured(torch.zeros(10), torch.arange(10) % 2)
    assert got == {"auroc": 0.5, "auprc": 0.5, "ks": 0}


@pytest.mark.parametrize(("label", "auprc"), [(0, 0.0), (1, 1.0)])
def test_one_class_alone_has_numbers_that_say_nothing(label: int, auprc: float) -> None:
    got = measured(torch.randn(5), torch.full((5,), label))
    assert got == {"auroc": 0.5, "auprc": auprc, "ks": 0}


def test_what_is_not_finite_counts_somewhere() -> None:
    scores = torch.tensor([math.nan, math.inf, -math.inf, 1e30])
    counts = score_counts(torch.stack([torch.zeros(4), scores], 1), torch.tensor([0, 1, 0, 1]), num_bins=9)
    assert counts.sum(1).tolist() == [2, 2]
    assert counts[0].tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 0]
    assert counts[1].tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 2]


def test_only_tasks_of_two_classes_have_them() -> None:
    for classes in (("no", "yes"), ("a", "b", "c")):
        task = Classification(classes)
        outputs, targets = torch.randn(8, len(classes)), torch.arange(8) % 2
        found = task.summarize(to_sums(task.eval_sums(outputs, targets), 8))
        assert all((name in found) == (len(classes) == 2) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_more_is_better(name: str) -> None:
    assert mode_of(f"val_{name}") == "max"
