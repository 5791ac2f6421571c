"""Greedy selection of an ensemble, against going through all ensembles."""

from __future__ import annotations

from itertools import combinations_with_replacement

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from nnray.models.ensemble import Mean
from nnray.models.selection import select
from nnray.seeding import torch_rng

K = 3


def library(num: int, seed: int, num_examples: int = 40) -> tuple[Tensor, Tensor]:
    rng = torch_rng(seed, "library")
    targets = torch.randint(K, (num_examples,), generator=rng)
    logits = torch.randn(num, num_examples, K, generator=rng)
    skill = torch.rand(num, generator=rng) * 2
    logits[:, torch.arange(num_examples), targets] += skill[:, None]
    return logits.log_softmax(2), targets


def mean_of(logp: Tensor, counts: list[int]) -> Tensor:
    kept = [m for m, count in enumerate(counts) if count]
    return Mean([float(counts[m]) for m in kept])(logp[kept])


@given(num=st.integers(1, 5), seed=st.integers(0, 50), begin=st.integers(1, 2))
def test_it_is_at_least_as_good_as_the_best_model(num: int, seed: int, begin: int) -> None:
    logp, targets = library(num, seed)

    def score(outputs: Tensor) -> float:
        return -cross_entropy(outputs, targets).item()

    selected = select(logp, score, picks=12, begin=1)
    best = max(score(member) for member in logp)
    found = score(mean_of(logp, selected.counts))
    assert found >= best - 1e-6
    assert found == pytest.approx(max(selected.path), abs=1e-5)
    assert 1 <= sum(selected.counts) <= 12
    begun = select(logp, score, picks=6, begin=min(begin, num))
    assert sum(begun.counts) >= min(begin, num)


def test_the_first_steps_are_those_by_hand() -> None:
    logp, targets = library(4, 3)

    def score(outputs: Tensor) -> float:
        return -cross_entropy(outputs, targets).item()

    path, taken = [], list[int]()
    for _ in range(4):
        tries = {m: score(logp[[*taken, m]].exp().mean(0).log()) for m in range(4)}
        taken.append(max(tries, key=lambda m: tries[m]))
        path.append(tries[taken[-1]])
    selected = select(logp, score, picks=4)
    assert selected.path == pytest.approx(path, abs=1e-5)


def test_it_comes_close_to_the_best_of_all_ensembles() -> None:
    logp, targets = library(4, 1)

    def score(outputs: Tensor) -> float:
        return -cross_entropy(outputs, targets).item()

    best = max(
        score(mean_of(logp, [taken.count(m) for m in range(4)]))
        for size in range(1, 8)
        for taken in combinations_with_replacement(range(4), size)
    )
    found = score(mean_of(logp, select(logp, score, picks=7).counts))
    alone = max(score(member) for member in logp)
    assert found == pytest.approx(best, abs=0.1 * (best - alone) + 1e-9)
    assert best > alone


def test_one_model_far_ahead_is_taken_alone() -> None:
    logp, targets = library(3, 0)
    logp[1] = torch.nn.functional.one_hot(targets, K).float().mul(30).log_softmax(1)
    selected = select(logp, lambda outputs: -cross_entropy(outputs, targets).item(), picks=10)
    assert selected.counts == [0, 1, 0]


def test_picks_past_the_best_are_dropped() -> None:
    logp, _ = library(3, 0)
    scores = iter([3.0, 1.0, 1.0, 3.0, 1.0, 2.0, 0.0, 1.0, 2.0, 0.5])
    selected = select(logp, lambda _: next(scores), picks=3)
    assert selected.path == [3.0, 2.0, 2.0]
    assert selected.counts == [1, 0, 0]


def test_no_probability_of_0_breaks_the_score() -> None:
    logp = torch.tensor([[[0.0, -500.0]], [[0.0, -500.0]]])
    selected = select(logp, lambda outputs: -cross_entropy(outputs, torch.tensor([1])).item(), picks=3)
    assert all(value > -100 for value in selected.path)
