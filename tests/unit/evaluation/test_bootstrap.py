"""The fast bootstrap against one resample at a time, and intervals that cover what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnray.evaluation import bootstrap as module
from nnray.evaluation.bootstrap import METRICS, bootstrap
from nnray.evaluation.predictions import Predictions
from nnray.evaluation.scores import score
from nnray.evaluation.threshold import with_threshold


def draw(seed: int, *, count: int, classes: int, ties: bool = True) -> Predictions:
    rng = torch.Generator().manual_seed(seed)
    targets = torch.randint(classes, (count,), generator=rng)
    logits = torch.randn(count, classes, generator=rng)
    logits[torch.arange(count), targets] += 1
    return Predictions(logits.round() if ties else logits, targets)


def drawn(predictions: Predictions, index: torch.Tensor) -> Predictions:
    return Predictions(predictions.logits[index], predictions.targets[index], predictions.threshold)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 60), classes=st.integers(2, 5))
def test_weighted_examples_are_examples_drawn_so_often(seed: int, count: int, classes: int) -> None:
    predictions = draw(seed, count=count, classes=classes)
    if classes == 2:
        predictions = with_threshold(predictions, 0.4)
    index = torch.randint(count, (3, count), generator=torch.Generator().manual_seed(seed))
    weights = torch.stack([torch.bincount(row, minlength=count) for row in index], 1).float()
    got = module._Resampled.of(predictions).metrics(weights)
    for row, chosen in enumerate(index):
        expected = score(drawn(predictions, chosen))
        for name in METRICS:
            assert float(got[name][row]) == pytest.approx(expected[name], abs=1e-6, nan_ok=True), name


def test_the_ends_are_the_percentiles_of_resamples_one_by_one() -> None:
    predictions = draw(0, count=120, classes=3)
    found = bootstrap(predictions, seed=4, resamples=50, level=0.9)
    rows = torch.cat(list(module._draws(120, 50, seed=4)), 1).T
    values = [
        score(drawn(predictions, torch.repeat_interleave(torch.arange(120), row.long()))) for row in rows
    ]
    for name in METRICS:
        low, high = np.quantile([value[name] for value in values], [0.05, 0.95])
        assert (found[name].low, found[name].high) == pytest.approx((low, high), abs=1e-6)
        assert found[name].value == score(predictions)[name]
        assert (found[name].level, found[name].resamples) == (0.9, 50)


def test_each_resample_has_as_many_examples() -> None:
    rows = torch.cat(list(module._draws(37, 200, seed=0)), 1).T
    assert rows.shape == (200, 37)
    assert (rows.sum(1) == 37).all()
    assert float(rows.var()) == pytest.approx(36 / 37, rel=0.1)


def test_draws_come_from_the_seed_alone() -> None:
    predictions = draw(0, count=90, classes=3)
    torch.manual_seed(1)
    one = bootstrap(predictions, seed=0, resamples=100)
    before = torch.get_rng_state()
    assert bootstrap(predictions, seed=0, resamples=100) == one
    assert torch.equal(torch.get_rng_state(), before)
    assert bootstrap(predictions, seed=1, resamples=100) != one


def test_blocks_are_of_bounded_size_and_cover_all_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", 64)
    assert [block.shape[1] for block in module._draws(20, 8, seed=0)] == [3, 3, 2]
    assert [block.shape[1] for block in module._draws(1000, 2, seed=0)] == [1, 1]


def test_intervals_of_accuracy_cover_the_truth_about_as_often_as_they_say() -> None:
    """80 sets of a model that is right with probability 0.7: 95 % give 76, and 5 below is 2.6 deviations."""
    covered = 0
    for seed in range(80):
        rng = torch.Generator().manual_seed(seed)
        right = torch.rand(300, generator=rng) < 0.7
        interval = bootstrap(
            Predictions(torch.tensor([[1.0, 0.0]]).repeat(300, 1), (~right).long()), seed=seed, resamples=300
        )["accuracy"]
        covered += interval.low <= 0.7 <= interval.high
    assert 71 <= covered <= 80


def test_what_is_undefined_is_left_out() -> None:
    one_class = Predictions(
        torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(20).long()
    )
    found = bootstrap(one_class, seed=0, resamples=20)
    assert found.keys() == {"accuracy", "f1_macro", "log_loss"}


def test_resamples_without_a_class_do_not_count_for_auroc() -> None:
    rare = Predictions(
        torch.randn(30, 2, generator=torch.Generator().manual_seed(0)), (torch.arange(30) == 0).long()
    )
    found = bootstrap(rare, seed=0, resamples=400)
    assert found["auroc"].resamples == pytest.approx(400 * (1 - math.exp(-1)), rel=0.1)
    assert found["accuracy"].resamples == 400


def test_counts_that_float32_cannot_hold_are_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions = draw(3, count=40, classes=3)
    single = bootstrap(predictions, seed=0, resamples=20)
    assert next(module._draws(40, 20, seed=0)).dtype == torch.float32
    monkeypatch.setattr(module, "_EXACT", 40)
    assert next(module._draws(40, 20, seed=0)).dtype == torch.float64
    assert bootstrap(predictions, seed=0, resamples=20) == single
