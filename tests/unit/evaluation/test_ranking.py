"""Areas of weighted examples: by hand, and against scikit-learn's with weights."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from nnray.evaluation.ranking import auroc, average_precision, rank


def test_areas_by_hand() -> None:
    rated = torch.tensor([0.1, 0.4, 0.4, 0.8])
    is_class = torch.tensor([False, True, False, True])
    weights = torch.tensor([[1.0, 1, 1, 1], [2, 0, 1, 1], [0, 1, 0, 1]])
    tally = rank(rated, is_class).tally(weights.T.contiguous())
    areas = auroc(*tally).tolist()
    assert areas[:2] == [(1 + 0.5 + 2) / 4, 1.0]
    assert math.isnan(areas[2])
    assert average_precision(*tally).tolist() == pytest.approx([(1 + 2 / 3) / 2, 1.0, 1.0])


def test_weights_are_counted_at_and_between_levels() -> None:
    rated = torch.tensor([0.3, 0.9, 0.5, 0.1, 0.5, 0.7])
    is_class = torch.tensor([False, False, True, False, False, True])
    positive, other = rank(rated, is_class).tally(torch.tensor([1.0, 2, 4, 8, 16, 32])[:, None])
    assert positive[:, 0].tolist() == [4, 32]
    assert other[:, 0].tolist() == [9, 16, 0, 0, 2]


@settings(max_examples=150)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(2, 80),
    levels=st.integers(1, 40),
    sets=st.integers(1, 4),
)
def test_areas_are_scikit_learn_s_with_weights(seed: int, count: int, levels: int, sets: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    rated = torch.randint(levels, (count,), generator=rng).double() / levels
    is_class = torch.randint(2, (count,), generator=rng).bool()
    is_class[:2] = torch.tensor([True, False])
    weights = torch.randint(4, (count, sets), generator=rng).float()
    tally = rank(rated, is_class).tally(weights)
    for column, area, precision in zip(weights.T, auroc(*tally), average_precision(*tally), strict=True):
        if column[is_class].sum() and column[~is_class].sum():
            options = {"sample_weight": column.numpy()}
            assert float(area) == pytest.approx(sk.roc_auc_score(is_class, rated, **options), abs=1e-9)
            expected = sk.average_precision_score(is_class, rated, **options)
            assert float(precision) == pytest.approx(expected, abs=1e-9)
        else:
            assert math.isnan(area)
