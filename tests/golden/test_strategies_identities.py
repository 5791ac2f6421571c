"""Which strategies are the same where: the identities of REFERENCE.md, over rounds of unequal clients."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
import torch

from nnray.federated.strategies.adaptive import fedadam
from nnray.federated.strategies.baselines import local
from nnray.federated.strategies.fedavg import fedavg
from nnray.federated.strategies.fedavgm import fedavgm
from nnray.federated.strategies.feddyn import feddyn
from nnray.federated.strategies.fednova import fednova
from nnray.federated.strategies.fedopt import fedopt
from nnray.federated.strategies.fedprox import fedprox
from nnray.federated.strategies.fedsgd import fedsgd
from nnray.federated.strategies.qfedavg import qfedavg
from nnray.federated.strategies.scaffold import scaffold
from nnray.federated.strategy import ClientUpdate, Strategy, Vectors
from nnray.testing import means_of
from nnray.training.optimizers import adam, sgd
from tests.golden.strategies_work import (
    EVERYONE,
    PLAIN,
    Array,
    Client,
    Training,
    clients,
    cohorts,
    play,
    pooled,
    start,
)

ROUNDS = cohorts(8)
EQUAL = (12, 12, 12, 12, 12)


def same(one: Sequence[Array], other: Sequence[Array], *, within: float = 2e-6) -> None:
    assert len(one) == len(other) > 0
    np.testing.assert_allclose(np.array(one), np.array(other), rtol=0, atol=within)
    assert np.linalg.norm(one[-1] - start()) > 0.01


def test_fedavg_of_everyone_with_one_full_step_is_centralised_sgd() -> None:
    everything = pooled(clients())
    w, descent = start(), []
    for _ in range(10):
        w = w - 0.5 * everything.gradient(w)
        descent.append(w)
    how = Training(lr=0.5, batch=None, epochs=1)
    same(play(fedavg(), clients(), rounds=[EVERYONE] * 10, training=how), descent)


@pytest.mark.parametrize(
    "strategy",
    [
        fedprox(mu=0.0),
        fedavgm(momentum=0.0, lr=1.0),
        fedsgd(lr=1.0),
        fedopt(server_optimizer=partial(sgd, lr=1.0)),
    ],
)
def test_it_is_fedavg_where_its_own_part_is_off(strategy: Strategy) -> None:
    same(play(strategy, clients(), rounds=ROUNDS), play(fedavg(), clients(), rounds=ROUNDS), within=3e-7)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_fednova_with_equal_local_steps_is_fedavg(momentum: float) -> None:
    how = Training(lr=0.1, momentum=momentum)
    found = play(fednova(), clients(EQUAL), rounds=ROUNDS, training=how)
    same(found, play(fedavg(), clients(EQUAL), rounds=ROUNDS, training=how))
    unequal = play(fednova(), clients(), rounds=ROUNDS, training=how)
    assert np.abs(unequal[-1] - play(fedavg(), clients(), rounds=ROUNDS, training=how)[-1]).max() > 1e-3


def test_fednova_with_equal_local_steps_is_fedprox() -> None:
    found = play(fednova(mu=0.4), clients(EQUAL), rounds=ROUNDS)
    same(found, play(fedprox(mu=0.4), clients(EQUAL), rounds=ROUNDS))


def test_qfedavg_with_q_0_is_the_uniform_mean() -> None:
    found = play(qfedavg(q=0.0), clients(), rounds=ROUNDS)
    same(found, play(fedavg(weighting="uniform"), clients(), rounds=ROUNDS))


def test_uniform_and_by_examples_are_one_for_equal_sizes_only() -> None:
    uniform, by_examples = fedavg(weighting="uniform"), fedavg(weighting="examples")
    same(play(uniform, clients(EQUAL), rounds=ROUNDS), play(by_examples, clients(EQUAL), rounds=ROUNDS))
    gap = play(uniform, clients(), rounds=ROUNDS)[-1] - play(by_examples, clients(), rounds=ROUNDS)[-1]
    assert np.abs(gap).max() > 1e-2


def torch_on_mean_changes(make: type[torch.optim.Optimizer], **options: float) -> list[Array]:
    """An optimizer of torch, kept over rounds, on the negative mean change."""
    population = clients()
    w = torch.tensor(start(), requires_grad=True)
    optimizer, seen = make([w], **options), []  # type: ignore[arg-type]
    for cohort in ROUNDS:
        at = w.detach().numpy()
        ends = np.array([PLAIN.run(at, population[i])[0] for i in cohort])
        sizes = np.array([len(population[i]) for i in cohort])
        w.grad = -torch.from_numpy(sizes @ (ends - at) / sizes.sum())
        optimizer.step()
        seen.append(w.detach().numpy().copy())
    return seen


def test_fedadam_with_bias_correction_is_torch_adam_on_the_negative_mean_change() -> None:
    strategy = fedadam(lr=0.05, betas=(0.9, 0.99), tau=1e-3, bias_correction=True)
    expected = torch_on_mean_changes(torch.optim.Adam, lr=0.05, betas=(0.9, 0.99), eps=1e-3)  # type: ignore[arg-type]
    same(play(strategy, clients(), rounds=ROUNDS), expected)


@pytest.mark.parametrize(
    ("make", "mine", "options"),
    [
        (torch.optim.Adam, adam, {"lr": 0.05, "eps": 1e-3}),
        (torch.optim.SGD, sgd, {"lr": 0.7, "momentum": 0.9, "nesterov": True}),
    ],
)
def test_fedopt_is_the_optimizer_kept_over_rounds(make, mine, options) -> None:  # type: ignore[no-untyped-def]
    strategy = fedopt(server_optimizer=partial(mine, **options))
    same(play(strategy, clients(), rounds=ROUNDS), torch_on_mean_changes(make, **options), within=1e-5)


def test_fedopt_with_momentum_is_fedavgm() -> None:
    strategy = fedopt(server_optimizer=partial(sgd, lr=0.5, momentum=0.8))
    same(
        play(strategy, clients(), rounds=ROUNDS),
        play(fedavgm(lr=0.5, momentum=0.8), clients(), rounds=ROUNDS),
    )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_scaffold_with_one_client_is_local_sgd(momentum: float) -> None:
    how = Training(lr=0.1, momentum=momentum)
    w, alone, only = start(), [], clients()[1]
    for _ in range(5):
        w = how.run(w, only)[0]
        alone.append(w)
    same(play(scaffold(), [only], rounds=[[0]] * 5, training=how), alone)


def run_states(strategy: Strategy, *, rounds: Sequence[Sequence[int]]) -> tuple[Vectors, dict[int, Vectors]]:
    """What server and clients keep after rounds of random changes."""
    params, rng = torch.zeros(4), torch.Generator().manual_seed(0)
    server, kept = strategy.server_state(params), dict[int, Vectors]()
    for cohort in rounds:
        sent = {}
        for i in cohort:
            update = ClientUpdate(i, 3, 4, 0.1, 0.0, torch.randn(4, generator=rng), 1.0, float("nan"))
            sent[i] = strategy.message(update, server=server, client=kept.get(i, {}))
        kept |= {i: message.kept for i, message in sent.items()}
        params, server = strategy.step(params, means_of(list(sent.values()), population=5), server=server)
    return server, kept


def test_the_variate_of_scaffolds_server_is_the_mean_of_all_clients() -> None:
    server, kept = run_states(scaffold(), rounds=ROUNDS)
    mean = torch.stack([state["variate"] for state in kept.values()]).sum(0) / 5
    torch.testing.assert_close(server["variate"], mean)


def test_the_h_of_feddyns_server_is_the_mean_gradient_of_all_clients() -> None:
    server, kept = run_states(feddyn(alpha=0.7), rounds=ROUNDS)
    mean = torch.stack([state["gradient"] for state in kept.values()]).sum(0) / 5
    torch.testing.assert_close(server["h"], mean)


def optimum(population: Sequence[Client]) -> Array:
    """Where the mean of the clients' losses is least: Newton's method would be quicker."""
    w = start()
    for _ in range(20_000):
        w = w - 0.2 * np.mean([client.gradient(w) for client in population], axis=0)
    return w


def test_scaffold_and_feddyn_reach_the_optimum_that_fedavg_misses() -> None:
    population, how = clients(), Training(lr=0.05, batch=None, epochs=30)
    best = optimum(population)
    gaps = {
        name: np.abs(play(strategy, population, rounds=[EVERYONE] * 150, training=how)[-1] - best).max()
        for name, strategy in {
            "fedavg": fedavg(weighting="uniform"),
            "scaffold": scaffold(),
            "feddyn": feddyn(alpha=0.5),
        }.items()
    }
    assert gaps["fedavg"] > 0.1
    assert gaps["scaffold"] < 1e-4
    assert gaps["feddyn"] < 1e-4


def test_local_clients_go_on_from_their_own_weights() -> None:
    _, kept = run_states(local(), rounds=[[0, 1], [1, 0], [0]])
    rng = torch.Generator().manual_seed(0)
    drawn = [torch.randn(4, generator=rng) for _ in range(5)]
    torch.testing.assert_close(kept[0]["params"], drawn[0] + drawn[3] + drawn[4])
    torch.testing.assert_close(kept[1]["params"], drawn[1] + drawn[2])
    assert torch.equal(local().pull({"start": torch.zeros(4)}, kept[1]).start, kept[1]["params"])  # type: ignore[arg-type]
