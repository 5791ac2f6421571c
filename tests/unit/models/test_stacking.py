"""Stacking against scikit-learn's logistic regression, and what shrinking and held-out folds promise."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from nnray.errors import DataError
from nnray.models.stacking import STRENGTHS, fit, folds, geometric_mean, stack_members
from nnray.seeding import torch_rng

M, K = 3, 4
D = M * K


def examples(num: int = 200, seed: int = 0, skill: float = 2.0) -> tuple[Tensor, Tensor]:
    """Members that know something: the target's logit is raised, more by the first than by the last."""
    rng = torch_rng(seed, "examples")
    targets = torch.randint(K, (num,), generator=rng)
    logits = torch.randn(num, M, K, generator=rng)
    for m in range(M):
        logits[torch.arange(num), m, targets] += skill / (m + 1)
    return logits.log_softmax(2).flatten(1), targets


@pytest.mark.parametrize("l2", [1.0, 10.0, 100.0])
def test_it_is_scikit_learns_where_the_penalty_is_centred_on_0(l2: float) -> None:
    from sklearn.linear_model import LogisticRegression

    x, targets = examples()
    weight, bias = fit(x, targets, l2=l2, centre_KD=torch.zeros(K, D, dtype=torch.float64), tolerance=1e-9)
    oracle = LogisticRegression(C=1 / l2, tol=1e-10, max_iter=10_000).fit(x.double().numpy(), targets.numpy())
    np.testing.assert_allclose(weight.numpy(), oracle.coef_, atol=1e-4)
    expected = oracle.predict_log_proba(x.double().numpy())
    np.testing.assert_allclose((x.double() @ weight.T + bias).log_softmax(1).numpy(), expected, atol=1e-4)


def test_the_fit_is_a_minimum() -> None:
    x, targets = examples()
    centre = geometric_mean(D, K)
    weight, bias = fit(x, targets, l2=1.0, centre_KD=centre)

    def loss(weight: Tensor, bias: Tensor) -> float:
        logits = x.double() @ weight.T + bias
        return float(cross_entropy(logits, targets) * len(x) + (weight - centre).square().sum() / 2)

    least = loss(weight, bias)
    rng = torch_rng(1, "steps")
    for size in (1e-3, 1e-2, 1e-1):
        step = size * torch.randn(K, D, generator=rng, dtype=torch.float64)
        assert loss(weight + step, bias) > least
        assert loss(weight, bias + step[:, 0]) > least - 1e-9


def test_a_strong_penalty_gives_the_geometric_mean() -> None:
    x, targets = examples()
    weight, _ = fit(x, targets, l2=1e9, centre_KD=geometric_mean(D, K))
    torch.testing.assert_close(weight, geometric_mean(D, K), atol=1e-5, rtol=0)
    by_hand = x.double().unflatten(1, (M, K)).mean(1)
    torch.testing.assert_close(x.double() @ geometric_mean(D, K).T, by_hand)


def test_a_better_member_counts_more() -> None:
    x, targets = examples(2000)
    weight, _ = fit(x, targets, l2=1.0, centre_KD=geometric_mean(D, K))
    own = weight.unflatten(1, (M, K)).diagonal(dim1=0, dim2=2).mean(1)
    assert own[0] > own[1] > own[2]


@given(
    num=st.integers(5, 200),
    num_classes=st.integers(2, 6),
    seed=st.integers(0, 20),
)
def test_folds_share_every_class_alike(num: int, num_classes: int, seed: int) -> None:
    targets = torch.randint(num_classes, (num,), generator=torch_rng(seed, "targets"))
    given_folds = folds(targets, num_folds=5, seed=seed)
    sizes = torch.bincount(given_folds, minlength=5)
    assert sizes.max() - sizes.min() <= 1
    for label in targets.unique():
        counts = torch.bincount(given_folds[targets == label], minlength=5)
        assert counts.max() - counts.min() <= 1
    assert torch.equal(given_folds, folds(targets, num_folds=5, seed=seed))


def test_other_seeds_give_other_folds() -> None:
    targets = torch.arange(50) % 2
    assert not torch.equal(folds(targets, num_folds=5, seed=0), folds(targets, num_folds=5, seed=1))


def test_an_example_has_no_part_in_its_own_estimate() -> None:
    x, targets = examples(60)
    place = folds(targets, num_folds=5, seed=0)
    before = stack_members(x, targets, num_classes=K, seed=0)
    x[7] = x[7].flip(0)
    after = stack_members(x, targets, num_classes=K, seed=0)
    assert before.l2 == after.l2
    with_it = torch.arange(60)[(place == place[7]) & (torch.arange(60) != 7)]
    others = torch.arange(60)[place != place[7]]
    assert torch.equal(before.held_out[with_it], after.held_out[with_it])
    assert not (before.held_out[others] == after.held_out[others]).any()


def test_the_estimate_is_not_as_rosy_as_the_fit() -> None:
    x, _ = examples(60)
    noise = torch.randint(K, (60,), generator=torch_rng(3, "noise"))
    stacked = stack_members(x, noise, num_classes=K, seed=0)
    seen = cross_entropy(x.double() @ stacked.weight.T + stacked.bias, noise).item()
    assert stacked.losses[stacked.l2] > seen + 0.02
    assert stacked.losses[stacked.l2] == min(stacked.losses.values())


def test_where_the_mean_is_right_it_stays_there() -> None:
    x, _ = examples(500, seed=5)
    right = (x.double() @ geometric_mean(D, K).T).softmax(1)
    targets = right.multinomial(1, generator=torch_rng(0, "targets")).squeeze(1)
    stacked = stack_members(x, targets, num_classes=K, seed=0)
    distance = (x.double() @ stacked.weight.T + stacked.bias).softmax(1) - right
    weakest, _ = fit(x, targets, l2=STRENGTHS[-1], centre_KD=geometric_mean(D, K))
    assert distance.abs().mean() < 0.06
    assert (stacked.weight - geometric_mean(D, K)).norm() < 0.5 * (weakest - geometric_mean(D, K)).norm()


def test_weaker_penalties_are_tried_until_one_is_worse() -> None:
    losses = stack_members(*examples(60), num_classes=K, seed=0).losses
    tried, values = list(losses), list(losses.values())
    assert tried == list(STRENGTHS[: len(tried)])
    assert values[:-1] == sorted(values[:-1], reverse=True)
    assert len(tried) == len(STRENGTHS) or values[-1] > values[-2]


def test_a_class_that_is_absent_is_still_answered() -> None:
    x, targets = examples(80)
    stacked = stack_members(x, targets % (K - 1), num_classes=K, seed=0)
    assert stacked.weight.shape == (K, D)
    assert stacked.held_out.isfinite().all()


def test_the_same_seed_gives_the_same_bits() -> None:
    one, two = (stack_members(*examples(50), num_classes=K, seed=4) for _ in range(2))
    assert torch.equal(one.weight, two.weight)
    assert one.losses == two.losses


def test_too_few_examples_are_refused() -> None:
    x, targets = examples(4)
    with pytest.raises(DataError, match="5 validation examples or more, got 4"):
        stack_members(x, targets, num_classes=K, seed=0)


def test_broken_members_are_refused() -> None:
    x, targets = examples(20)
    x[3, 2] = torch.nan
    with pytest.raises(DataError, match="not finite"):
        stack_members(x, targets, num_classes=K, seed=0)


def test_fitting_warns_of_nothing() -> None:
    x, targets = examples(50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stack_members(x, targets, num_classes=K, seed=0)
