"""DP-SGD on a client's own examples: its draws, its noise, and what it has spent."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnray.privacy.accounting import epsilon
from nnray.privacy.example.gradients import ExampleGradients
from nnray.privacy.example.local import (
    LocalDpSgd,
    LocalPrivacy,
    LocalSteps,
    Worst,
    local_noise,
    rate_of,
    rounds_within,
    worst_client,
)
from nnray.training.step import supervised
from tests.unit.privacy.example.networks import batch, make, task

LOSS = supervised(task())
CLIP = 0.5


def settings_of(*, batch_size: int | None = 10, noise: float = 1.0, seed: int = 0) -> LocalDpSgd:
    return LocalDpSgd(batch_size=batch_size, clip_norm=CLIP, noise_multiplier=noise, at_once=8, seed=seed)


def local(**changes: Any) -> tuple[LocalPrivacy, ExampleGradients]:
    gradients = ExampleGradients(make("mlp"), clip_norm=CLIP, at_once=8)
    return LocalPrivacy(settings_of(**changes), gradients), gradients


def in_passes(batch_size: int, *, epochs: int = 1) -> LocalSteps:
    """What clients of any size do, in so many passes a round."""
    counts = {
        size: epochs * settings_of(batch_size=batch_size).steps_of_pass(size) for size in range(1, 5000)
    }
    return LocalSteps(batch_size, counts)


def left(made: LocalPrivacy, gradients: ExampleGradients, *, size: int, **where: Any) -> torch.Tensor:
    """The gradient that a step leaves, as one vector."""
    x, y = batch(size)
    named = {"path": ("client", 1, 2), "step": 0, **where}
    made.backward(LOSS, x, targets=y, num_examples=20, **named)
    return torch.cat([param.grad.double().flatten() for param in gradients.parameters])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("batch_size", "size", "rate", "count"), [(5, 50, 0.1, 10), (50, 20, 1.0, 1), (None, 20, 1.0, 1)]
)
def test_steps_and_rate_go_by_the_client_s_own_examples(
    batch_size: int | None, size: int, rate: float, count: int
) -> None:
    assert rate_of(batch_size, size) == pytest.approx(rate)
    assert settings_of(batch_size=batch_size).steps_of_pass(size) == count
    phase = LocalSteps(batch_size, {size: 2 * count}).phase(size, noise_multiplier=1.5, rounds=3)
    assert (phase.noise_multiplier, phase.rate, phase.steps) == (1.5, pytest.approx(rate), 6 * count)


def test_each_example_comes_at_the_rate() -> None:
    made, _ = local(batch_size=10)
    counts = torch.zeros(100)
    draws = list(made.draws(100, num_steps=1000, path=("client", 1, 2)))
    for index in draws:
        counts[index] += 1
    assert len(draws) == 1000
    share = float(counts.mean()) / 1000
    assert abs(share - 0.1) < 3 * math.sqrt(0.1 * 0.9 / (1000 * 100))
    assert len({len(index) for index in draws}) > 5


def test_draws_go_by_client_and_round() -> None:
    made, _ = local(batch_size=10)
    first, again = (list(made.draws(100, num_steps=10, path=("client", 1, 2))) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    for path in (("client", 2, 2), ("client", 1, 3), ("client", 1, 2, "stage", 1)):
        other = list(made.draws(100, num_steps=10, path=path))
        assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_step_leaves_the_clipped_sum_over_the_expected_size() -> None:
    made, gradients = local(noise=1e-12, batch_size=4)
    x, y = batch(6)
    total, _, _ = gradients.clipped_sum(LOSS, x, targets=y)
    expected = torch.cat([part.double().flatten() for part in total]) / 4
    torch.testing.assert_close(left(made, gradients, size=6), expected, rtol=1e-4, atol=1e-7)


def test_noise_has_its_standard_deviation_and_draws_of_its_own() -> None:
    made, gradients = local(noise=2.0, batch_size=4)
    noise = left(made, gradients, size=0) * 4
    error = 2.0 * CLIP / math.sqrt(2 * noise.numel())
    assert abs(float(noise.std()) - 2.0 * CLIP) < 3 * error
    assert torch.equal(noise, left(made, gradients, size=0) * 4)
    for where in ({"step": 1}, {"path": ("client", 1, 3)}, {"path": ("client", 2, 2)}):
        assert not torch.equal(noise, left(made, gradients, size=0, **where) * 4)
    assert not torch.equal(noise, left(*local(noise=2.0, batch_size=4, seed=1), size=0) * 4)


STEPS = in_passes(10)
COMMON: dict[str, Any] = {"noise_multiplier": 1.0, "delta": 1e-5, "accountant": "rdp"}


def spent(size: int, rounds: int) -> float:
    """The oracle: a client by itself."""
    steps = rounds * STEPS.in_round[size]
    return epsilon(rate=rate_of(10, size), steps=steps, **COMMON)


@given(
    sizes=st.lists(st.integers(5, 200), min_size=1, max_size=4),
    rounds=st.lists(st.integers(1, 30), min_size=8, max_size=8),
)
@settings(max_examples=10)
def test_the_worst_client_is_the_worst_of_all(sizes: list[int], rounds: list[int]) -> None:
    counts = dict(zip(range(len(sizes)), rounds, strict=False))
    found = worst_client(counts, STEPS, sizes=np.array(sizes), **COMMON)
    assert found is not None
    each = [spent(size, counts[client]) for client, size in enumerate(sizes)]
    assert found.epsilon == pytest.approx(max(each), rel=1e-9)
    assert each[found.client] == pytest.approx(max(each), rel=1e-9)


def test_who_did_not_take_part_has_spent_nothing() -> None:
    sizes = np.array([10, 1000, 1000])
    assert worst_client({}, STEPS, sizes=sizes, **COMMON) is None
    found = worst_client({1: 2, 2: 3}, STEPS, sizes=sizes, **COMMON)
    assert found == Worst(2, spent(1000, 3))


@pytest.mark.parametrize("accountant", ["rdp", "pld"])
def test_the_accountants_agree_on_who_is_the_worst(accountant: str) -> None:
    sizes = np.array([5, 15, 40, 400])
    common: dict[str, Any] = {**COMMON, "accountant": accountant}
    found = worst_client({0: 3, 1: 3, 2: 3, 3: 3}, STEPS, sizes=sizes, **common)
    each = [
        epsilon(rate=rate_of(10, size), steps=3 * STEPS.in_round[size], **common) for size in sizes.tolist()
    ]
    assert found is not None and found.epsilon == pytest.approx(max(each), rel=1e-9)


@pytest.mark.parametrize("sizes", [[400, 40, 4000], [5, 15], [12, 13, 14, 15, 16]])
def test_noise_keeps_every_client_to_epsilon_and_is_needed_by_one(sizes: list[int]) -> None:
    """With 5 and 15 examples it is the larger client that costs more: two steps of two thirds."""
    noise = local_noise(3.0, STEPS, sizes=np.array(sizes), rounds=10, delta=1e-5, accountant="rdp")
    common: dict[str, Any] = {**COMMON, "noise_multiplier": noise}
    each = [epsilon(rate=rate_of(10, size), steps=10 * STEPS.in_round[size], **common) for size in sizes]
    assert 3.0 - 1e-3 < max(each) <= 3.0


def test_noise_leaves_what_is_frozen_where_it_is() -> None:
    made, gradients = local(noise=1.0)
    still, *rest = gradients.parameters
    still.requires_grad_(False)
    x, y = batch(6)
    made.backward(LOSS, x, targets=y, num_examples=20, path=("client", 1, 2), step=0)
    assert still.grad is None
    assert all(param.grad is not None and param.grad.abs().min() > 0 for param in rest)


@pytest.mark.parametrize("sizes", [[40, 400], [5, 15]])
def test_rounds_end_before_the_worst_client_exceeds_epsilon(sizes: list[int]) -> None:
    found = rounds_within(12.0, STEPS, sizes=np.array(sizes), most=1000, **COMMON)
    assert 0 < found < 1000
    assert max(spent(size, found) for size in sizes) <= 12.0 < max(spent(size, found + 1) for size in sizes)


def test_rounds_are_none_or_all_where_a_budget_is_tiny_or_large() -> None:
    common: dict[str, Any] = {"sizes": np.array([40]), "most": 7, **COMMON}
    assert rounds_within(0.01, STEPS, **common) == 0
    assert rounds_within(1e6, STEPS, **common) == 7
