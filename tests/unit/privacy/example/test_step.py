"""A step of DP-SGD: its noise, its scale, and what an attacker who sees it can tell."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from scipy.stats import beta, kstest
from torch import Tensor, nn

from nnray.privacy.accounting import epsilon
from nnray.privacy.example.gradients import ExampleGradients
from nnray.privacy.example.step import PrivateStep, add_noise
from nnray.training.optimizers import sgd
from nnray.training.schedules import constant
from nnray.training.state import TrainState, moving_average
from nnray.training.step import supervised
from tests.unit.privacy.example.networks import batch, make, task

LOSS = supervised(task())
CLIP, EXPECTED = 0.5, 8.0


def state_of(model: nn.Module, *, lr: float = 1.0) -> TrainState:
    optimizer = sgd(list(model.parameters()), lr=lr)
    return TrainState(model, optimizer, constant(optimizer, num_steps=9, steps_per_epoch=3))


def step_of(model: nn.Module, *, noise: float = 1.0, seed: int = 0, l1: float = 0.0) -> PrivateStep:
    gradients = ExampleGradients(model, clip_norm=CLIP, at_once=4)
    return PrivateStep(gradients, CLIP, noise, EXPECTED, seed, l1)


def params(model: nn.Module) -> list[Tensor]:
    return [param.detach().clone() for param in model.parameters()]


def moved(model: nn.Module, take: Callable[[], object]) -> list[Tensor]:
    before = params(model)
    take()
    return [after - start for after, start in zip(params(model), before, strict=True)]


def flat(parts: list[Tensor]) -> Tensor:
    return torch.cat([part.double().flatten() for part in parts])


def test_without_noise_a_step_is_the_clipped_sum_over_the_expected_size() -> None:
    x, y = batch(5)
    model = make("mlp")
    total, outputs, loss = ExampleGradients(make("mlp"), clip_norm=CLIP, at_once=9).clipped_sum(
        LOSS, x, targets=y
    )
    state, step = state_of(model, lr=0.1), step_of(model, noise=1e-12)
    change = moved(model, lambda: torch.testing.assert_close(step(state, x, y, LOSS), (outputs, loss)))
    for one, part in zip(change, total, strict=True):
        torch.testing.assert_close(one, -0.1 * part / EXPECTED, rtol=1e-3, atol=1e-7)
    assert state.step == 1


def test_noise_has_the_standard_deviation_that_it_claims() -> None:
    model = make("lenet")
    x, y = batch(0)
    noise = flat(moved(model, lambda: step_of(model, noise=1.3)(state_of(model), x, y, LOSS))) * EXPECTED
    expected = 1.3 * CLIP
    assert noise.numel() > 10_000
    error = expected / math.sqrt(2 * noise.numel())
    assert abs(float(noise.std()) - expected) < 3 * error
    assert abs(float(noise.mean())) < 3 * expected / math.sqrt(noise.numel())


def test_noise_is_gaussian() -> None:
    tensor = torch.zeros(20_000, dtype=torch.float64)
    add_noise([tensor], std=2.0, seed=3, step=0)
    assert kstest(tensor.numpy() / 2.0, "norm").pvalue > 0.01


def test_noise_is_drawn_by_seed_and_step_and_each_tensor_has_its_own() -> None:
    def draw(seed: int, step: int, *path: str | int) -> list[Tensor]:
        parts = [torch.zeros(4, 3), torch.zeros(12)]
        add_noise(parts, std=1.0, seed=seed, step=step, path=path)
        return parts

    first, again = draw(0, 1), draw(0, 1)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first[0].flatten(), first[1])
    for other in (draw(1, 1), draw(0, 2), draw(0, 1, "client", 4)):
        assert not torch.equal(first[0], other[0])


def test_a_step_that_nobody_was_drawn_into_is_noise_alone() -> None:
    x, y = batch(0)
    model = make("mlp")
    state = state_of(model)
    change = flat(moved(model, lambda: step_of(model)(state, x, y, LOSS)))
    assert float(change.abs().max()) > 0
    assert state.step == 1
    total = [torch.zeros_like(param) for param in model.parameters()]
    add_noise(total, std=CLIP, seed=0, step=0)
    torch.testing.assert_close(change, -flat(total) / EXPECTED, rtol=1e-4, atol=1e-6)


def test_the_number_drawn_does_not_scale_the_step() -> None:
    x, y = batch(1)
    twice = torch.cat([x, x]), torch.cat([y, y])
    one, two = make("mlp"), make("mlp")
    first = flat(moved(one, lambda: step_of(one, noise=1e-12)(state_of(one), x, y, LOSS)))
    second = flat(moved(two, lambda: step_of(two, noise=1e-12)(state_of(two), *twice, LOSS)))
    torch.testing.assert_close(second, 2 * first, rtol=1e-3, atol=1e-6)


def test_the_l1_penalty_and_the_moving_average_go_on_top() -> None:
    x, y = batch(3)
    plain, penalised = make("mlp"), make("mlp")
    first = moved(plain, lambda: step_of(plain)(state_of(plain), x, y, LOSS))
    state = state_of(penalised)
    state.average = moving_average(penalised, 0.5)
    second = moved(penalised, lambda: step_of(penalised, l1=0.01)(state, x, y, LOSS))
    assert not torch.equal(flat(first), flat(second))
    difference = flat(second) - flat(first)
    allowed = torch.tensor([-0.01, 0.0, 0.01], dtype=torch.float64)
    assert float((difference[:, None] - allowed).abs().amin(1).max()) < 1e-6
    assert int(state.average.n_averaged) == 1
    assert all(
        torch.equal(a, b) for a, b in zip(params(state.average.module), params(penalised), strict=True)
    )


# An audit: the canary's gradient is as long as it may be and points where only it does, and the attacker
# looks along it at what a step did. What it tells then is bounded by epsilon, unless noise is lacking.
TRIALS, DELTA = 1600, 1e-2


class Canary(nn.Module):
    """A linear model whose canary input has a weight that no other example touches."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


def scores(*, noise: float, present: bool) -> Tensor:
    """How far the canary's weight has moved its way, in steps with different draws of noise."""
    model = Canary()
    others = torch.tensor([[1.0, 0.0, 0.5, 0.0], [0.0, 1.0, 0.0, 0.0]])
    canary = torch.tensor([[0.0, 0.0, 0.0, 100.0]])
    x = torch.cat([others, canary]) if present else others
    y = torch.tensor([0, 1, 2])[: len(x)]
    state, step, found = state_of(model), step_of(model, noise=noise, seed=11 if present else 12), []
    direction = torch.tensor([-1.0, -1.0, 2.0]) / math.sqrt(6)
    for number in range(TRIALS):
        nn.init.zeros_(model.linear.weight)
        state.step = number
        step(state, x, y, LOSS)
        found.append(float(model.linear.weight.detach()[:, 3] @ direction))
    return torch.tensor(found)


def empirical_epsilon(noise: float) -> float:
    """A lower bound of epsilon that holds with 95 %, from the best threshold on one half of the trials.

    Source: Nasr et al. 2021, "Adversary instantiation"; Clopper and Pearson 1934.
    """
    there, away = scores(noise=noise, present=True), scores(noise=noise, present=False)
    half = TRIALS // 2
    thresholds = torch.quantile(torch.cat([there[:half], away[:half]]), torch.linspace(0.02, 0.98, 49))

    def bound(true: Tensor, false: Tensor, threshold: Tensor) -> float:
        hits, alarms, count = int((true > threshold).sum()), int((false > threshold).sum()), len(true)
        low = float(beta.ppf(0.025, hits, count - hits + 1)) if hits else 0.0
        high = float(beta.ppf(0.975, alarms + 1, count - alarms)) if alarms < count else 1.0
        return math.log((low - DELTA) / high) if low > DELTA else 0.0

    chosen = max(thresholds, key=lambda threshold: bound(there[:half], away[:half], threshold))
    return bound(there[half:], away[half:], chosen)


def test_an_audit_finds_less_than_is_claimed_and_more_without_noise() -> None:
    claimed = epsilon(noise_multiplier=1.0, rate=1.0, steps=1, delta=DELTA, accountant="rdp")
    assert 0.3 < empirical_epsilon(1.0) < claimed  # it sees something, and no more than it may
    assert empirical_epsilon(1e-3) > claimed  # as if somebody had turned the noise off


def test_an_audit_sees_noise_that_is_too_small_by_a_few_times() -> None:
    claimed = epsilon(noise_multiplier=2.0, rate=1.0, steps=1, delta=DELTA, accountant="rdp")
    assert empirical_epsilon(0.5) > claimed
