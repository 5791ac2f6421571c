"""Strategies against the algorithms of their papers, in float64, over rounds of unequal clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
import pytest

from nnray.federated.strategies.adaptive import fedadagrad, fedadam, fedyogi
from nnray.federated.strategies.baselines import central, local
from nnray.federated.strategies.fedavg import fedavg
from nnray.federated.strategies.fedavgm import fedavgm
from nnray.federated.strategies.feddyn import feddyn
from nnray.federated.strategies.fednova import fednova
from nnray.federated.strategies.fedprox import fedprox
from nnray.federated.strategies.fedsgd import fedsgd
from nnray.federated.strategies.qfedavg import qfedavg
from nnray.federated.strategies.scaffold import scaffold
from tests.golden.strategies_work import (
    EVERYONE,
    PLAIN,
    Array,
    Client,
    D,
    Training,
    clients,
    cohorts,
    play,
    pooled,
    start,
)

ROUNDS = cohorts(7)
MOMENTUM = Training(lr=0.1, momentum=0.9)


def by_size(cohort: Sequence[int], population: Sequence[Client]) -> Array:
    sizes = np.array([len(population[i]) for i in cohort], dtype=np.float64)
    share: Array = sizes / sizes.sum()
    return share


def tilted(at: Array, strength: float, *, by: Array | float = 0.0) -> Callable[[Array], Array]:
    """What a pull back to ``at``, and a drift, add to a gradient."""
    return lambda w: strength * (w - at) + by


def agree(found: Sequence[Array], expected: Iterator[Array]) -> None:
    listed = list(islice(expected, len(found)))
    assert len(listed) == len(found)
    for value, other in zip(found, listed, strict=True):
        np.testing.assert_allclose(value, other, rtol=2e-5, atol=2e-6)
    assert np.linalg.norm(listed[-1] - start()) > 0.01


def mcmahan(
    population: Sequence[Client], how: Training, *, mu: float = 0.0, beta: float = 0.0
) -> Iterator[Array]:
    """McMahan et al. 2017, algorithm 1; mu: Li et al. 2020, equation 2; beta: Hsu et al. 2019, 4.3."""
    w, v = start(), np.zeros(D)
    for cohort in ROUNDS:
        ends = [how.run(w, population[i], extra=tilted(w, mu))[0] for i in cohort]
        v = beta * v + w - by_size(cohort, population) @ np.array(ends)
        w = w - v
        yield w


@pytest.mark.parametrize("how", [PLAIN, MOMENTUM])
def test_fedavg_is_algorithm_1(how: Training) -> None:
    population = clients()
    agree(play(fedavg(), population, rounds=ROUNDS, training=how), mcmahan(population, how))


def test_fedprox_is_equation_2() -> None:
    population = clients()
    agree(play(fedprox(mu=0.7), population, rounds=ROUNDS), mcmahan(population, PLAIN, mu=0.7))


def test_fedavgm_is_momentum_on_the_server() -> None:
    population = clients()
    agree(play(fedavgm(momentum=0.8), population, rounds=ROUNDS), mcmahan(population, PLAIN, beta=0.8))


def reddi(population: Sequence[Client], kind: str, *, corrected: bool) -> Iterator[Array]:
    """Reddi et al. 2021, algorithm 2; corrected: as Kingma and Ba 2015, algorithm 1."""
    eta, b1, b2, tau = 0.1, 0.8, 0.95, 1e-2
    w, m, v = start(), np.zeros(D), np.full(D, 0.0 if corrected else tau**2)
    for t, cohort in enumerate(ROUNDS, start=1):
        ends = np.array([PLAIN.run(w, population[i])[0] for i in cohort])
        delta = by_size(cohort, population) @ (ends - w)
        m = b1 * m + (1 - b1) * delta
        v = {
            "adagrad": v + delta**2,
            "yogi": v - (1 - b2) * delta**2 * np.sign(v - delta**2),
            "adam": b2 * v + (1 - b2) * delta**2,
        }[kind]
        m_hat, v_hat = (m / (1 - b1**t), v / (1 - b2**t)) if corrected else (m, v)
        w = w + eta * m_hat / (np.sqrt(v_hat) + tau)
        yield w


@pytest.mark.parametrize("corrected", [False, True])
def test_fedadam_and_fedyogi_are_algorithm_2(corrected: bool) -> None:
    population = clients()
    for make, kind in ((fedadam, "adam"), (fedyogi, "yogi")):
        strategy = make(lr=0.1, betas=(0.8, 0.95), tau=1e-2, bias_correction=corrected)
        agree(play(strategy, population, rounds=ROUNDS), reddi(population, kind, corrected=corrected))


def test_fedadagrad_is_algorithm_2() -> None:
    population = clients()
    found = play(fedadagrad(lr=0.1, momentum=0.8, tau=1e-2), population, rounds=ROUNDS)
    agree(found, reddi(population, "adagrad", corrected=False))


def steps_vector(steps: int, how: Training, *, mu: float) -> Array:
    """Wang et al. 2020, section 4.1: the vectors a_i of momentum and of a proximal pull."""
    if mu:
        return (1 - how.lr * mu) ** np.arange(steps - 1, -1, -1.0)
    rho = how.momentum
    made: Array = (1 - rho ** np.arange(steps, 0, -1.0)) / (1 - rho)
    return made


def wang(population: Sequence[Client], how: Training, *, mu: float) -> Iterator[Array]:
    """Wang et al. 2020, equation 6, from the gradients of single steps."""
    w = start()
    for cohort in ROUNDS:
        share, directions, norms = by_size(cohort, population), [], []
        for i in cohort:
            _, gradients = how.run(w, population[i], extra=tilted(w, mu))
            a = steps_vector(len(gradients), how, mu=mu)
            directions.append(a @ np.array(gradients) / np.abs(a).sum())
            norms.append(np.abs(a).sum())
        w = w - (share @ norms) * how.lr * (share @ np.array(directions))
        yield w


@pytest.mark.parametrize(("how", "mu"), [(PLAIN, 0.0), (MOMENTUM, 0.0), (PLAIN, 0.5)])
def test_fednova_is_equation_6(how: Training, mu: float) -> None:
    population = clients()
    agree(play(fednova(mu=mu), population, rounds=ROUNDS, training=how), wang(population, how, mu=mu))


def karimireddy(population: Sequence[Client], *, eta: float) -> Iterator[Array]:
    """Karimireddy et al. 2020, algorithm 1 with option II."""
    x, c, own = start(), np.zeros(D), np.zeros((len(population), D))
    for cohort in ROUNDS:
        dy, dc = [], []
        for i in cohort:
            y, gradients = PLAIN.run(x, population[i], extra=tilted(x, 0.0, by=c - own[i]))
            new = own[i] - c + (x - y) / (len(gradients) * PLAIN.lr)
            dy.append(y - x)
            dc.append(new - own[i])
            own[i] = new
        x = x + eta * np.mean(dy, axis=0)
        c = c + len(cohort) / len(population) * np.mean(dc, axis=0)
        yield x


@pytest.mark.parametrize("eta", [1.0, 0.6])
def test_scaffold_is_algorithm_1_option_ii(eta: float) -> None:
    population = clients()
    agree(play(scaffold(lr=eta), population, rounds=ROUNDS), karimireddy(population, eta=eta))


def acar(population: Sequence[Client], *, alpha: float) -> Iterator[Array]:
    """Acar et al. 2021, algorithm 1, its minimisation by gradient steps."""
    theta, h, grads = start(), np.zeros(D), np.zeros((len(population), D))
    for cohort in ROUNDS:
        ends = []
        for i in cohort:
            ends.append(PLAIN.run(theta, population[i], extra=tilted(theta, alpha, by=-grads[i]))[0])
            grads[i] = grads[i] - alpha * (ends[-1] - theta)
        h = h - alpha / len(population) * sum(end - theta for end in ends)
        theta = np.mean(ends, axis=0) - h / alpha
        yield theta


@pytest.mark.parametrize("alpha", [0.3, 2.0])
def test_feddyn_is_algorithm_1(alpha: float) -> None:
    population = clients()
    agree(play(feddyn(alpha=alpha), population, rounds=ROUNDS), acar(population, alpha=alpha))


def li(population: Sequence[Client], *, q: float, steep: float) -> Iterator[Array]:
    """Li et al. 2020, "Fair resource allocation in federated learning", algorithm 2."""
    w = start()
    for cohort in ROUNDS:
        deltas, bends = [], []
        for i in cohort:
            loss = population[i].loss(w)
            step = steep * (w - PLAIN.run(w, population[i])[0])
            deltas.append(loss**q * step)
            bends.append(q * loss ** (q - 1) * step @ step + steep * loss**q)
        w = w - sum(deltas) / sum(bends)
        yield w


@pytest.mark.parametrize(("q", "steep"), [(1.0, None), (0.3, None), (4.0, 8.0)])
def test_qfedavg_is_algorithm_2(q: float, steep: float | None) -> None:
    population = clients()
    found = play(qfedavg(q=q, lipschitz=steep), population, rounds=ROUNDS)
    agree(found, li(population, q=q, steep=steep or 1 / PLAIN.lr))


def test_fedsgd_is_descent_on_the_pooled_examples() -> None:
    population, everything = clients(), pooled(clients())
    how = Training(batch=None, epochs=1, lr=0.2)

    def descent() -> Iterator[Array]:
        w = start()
        while True:
            w = w - 1.5 * how.lr * everything.gradient(w)
            yield w

    agree(play(fedsgd(lr=1.5), population, rounds=[EVERYONE] * 8, training=how), descent())


def test_central_is_one_client_and_local_is_each_alone() -> None:
    everything = pooled(clients())

    def alone() -> Iterator[Array]:
        w = start()
        while True:
            w = PLAIN.run(w, everything)[0]
            yield w

    agree(play(central(), [everything], rounds=[[0]] * 3), alone())
    assert all((w == start()).all() for w in play(local(), clients(), rounds=ROUNDS))
