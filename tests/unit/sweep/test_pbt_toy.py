"""What population based training is for: a problem whose best learning rate changes as it is solved.

A quadratic with noise in its gradients, as the paper's toy problem a known one: far away a large rate
is best, close to the minimum a small one, since the noise that stays is in proportion to the rate.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from nnray.config import Range
from nnray.runners.sweep.pbt import pbt
from nnray.runners.sweep.schedulers import Scheduler

LR = "optimizer.lr"
SPACE = {LR: Range.model_validate({"loguniform": [1e-4, 1.0]})}
CURVATURES = (1.0, 0.3, 0.1) * 8
EPOCHS, STEPS, TRIALS, SEEDS = 30, 10, 16, 5
GRID = [10 ** (-4 + place / 10) for place in range(41)]
Point = Sequence[float]


def train(point: Point, lr: float, noise: random.Random) -> Point:
    """An epoch of gradient descent."""
    for _ in range(STEPS):
        pairs = zip(point, CURVATURES, strict=True)
        point = [x - lr * (curvature * x + noise.gauss(0, 1)) for x, curvature in pairs]
    return point


def loss(point: Point) -> float:
    """Without noise."""
    return statistics.fmean(c * x * x / 2 for x, c in zip(point, CURVATURES, strict=True))


def follow(rates: Sequence[float], name: str) -> float:
    """The last loss of a trial with these rates, an epoch each; noise by the trial's name."""
    point: Point = [10.0] * len(CURVATURES)
    for epoch, lr in enumerate(rates):
        point = train(point, lr, random.Random(f"{name}/{epoch}"))
    return loss(point)


@dataclass
class Member:
    """A trial of the population: where it stands, and all rates that brought it there."""

    lr: float
    point: Point = (10.0,) * len(CURVATURES)
    rates: tuple[float, ...] = field(default=())


def evolve(scheduler: Scheduler, first: Sequence[float], *, name: str) -> tuple[float, Sequence[float]]:
    """Train a population to the end: the best last loss, and the rates that led to it."""
    members = {number: Member(lr) for number, lr in enumerate(first)}
    for number, member in members.items():
        scheduler.begin(number, {LR: member.lr})  # type: ignore[attr-defined]
    for epoch in range(EPOCHS):
        for number, member in members.items():
            point = train(member.point, member.lr, random.Random(f"{name}/{number}/{epoch}"))
            members[number] = Member(member.lr, point, (*member.rates, member.lr))
            scheduler.judge(number, epoch + 1, loss(point))
        before = dict(members)
        for turn in scheduler.due(complete=True):  # type: ignore[attr-defined]
            scheduler.take(turn)  # type: ignore[attr-defined]
            taken = before[turn.trial if turn.source is None else turn.source]
            members[turn.trial] = Member(turn.params[LR], taken.point, taken.rates)
    best = min(members.values(), key=lambda member: loss(member.point))
    return loss(best.point), best.rates


@dataclass(frozen=True)
class Outcome:
    """Last losses with one seed."""

    population: float
    random_search: float
    schedule: float
    fixed: float


def outcome(seed: int) -> Outcome:
    """All four with the same budget; the fixed rate is chosen with far more, by looking at the result."""
    draws = random.Random(seed)
    first = [10 ** draws.uniform(-4, 0) for _ in range(TRIALS)]
    scheduler = pbt("val_loss", "min", seed, space=SPACE, trials=TRIALS)
    population, rates = evolve(scheduler, first, name=str(seed))
    searched = min(follow([lr] * EPOCHS, f"{seed}/{number}") for number, lr in enumerate(first))
    schedule = fresh(rates)
    return Outcome(population, searched, schedule, min(fresh([lr] * EPOCHS) for lr in GRID))


def fresh(rates: Sequence[float]) -> float:
    """The mean last loss with noise that nobody was chosen by."""
    return statistics.fmean(follow(rates, f"fresh/{number}") for number in range(3))


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return [outcome(seed) for seed in range(SEEDS)]


def test_a_population_beats_random_search_with_the_same_budget(outcomes: list[Outcome]) -> None:
    ratio = statistics.median(o.population / o.random_search for o in outcomes)
    assert ratio < 0.6, outcomes


def test_its_schedule_beats_the_best_fixed_rate_on_noise_that_it_has_not_seen(
    outcomes: list[Outcome],
) -> None:
    """So it is the schedule that is better, and not the luck of the one who was chosen."""
    ratio = statistics.median(o.schedule / o.fixed for o in outcomes)
    assert ratio < 0.9, outcomes


def test_the_best_rate_does_change(outcomes: list[Outcome]) -> None:
    """What the problem was made for: a large rate wins at first, a small one at last."""

    def best(epochs: int) -> float:
        return min(GRID, key=lambda lr: follow([lr] * epochs, "start"))

    assert best(1) > 3 * best(EPOCHS)
