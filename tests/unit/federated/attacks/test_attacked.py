"""A strategy with attackers: who they are, what the server is told, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nnray.federated.aggregation.coordinates import median
from nnray.federated.aggregation.robust import Robust
from nnray.federated.attacks.attack import Attack, draw_attackers
from nnray.federated.attacks.attacked import Attacked, problems
from nnray.federated.attacks.colluding import inner_product
from nnray.federated.attacks.data import label_flip
from nnray.federated.attacks.local import gaussian, sign_flip
from nnray.federated.strategies.baselines import central, local
from nnray.federated.strategies.fedavg import fedavg
from nnray.federated.strategies.fednova import fednova
from nnray.federated.strategies.qfedavg import qfedavg
from nnray.federated.strategies.scaffold import scaffold
from nnray.federated.strategy import Means, Message, Weighted
from nnray.seeding import torch_rng
from nnray.testing import check_strategy
from tests.unit.federated.hostile import VECTORS, mask, play
from tests.unit.federated.small import Mean

HOSTILE = inner_product(VECTORS, epsilon=2.0)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch_rng(0, "draw", *shape))


class Sees(Mean):
    """Remembers what its step was told."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "seen", [])

    def step(self, params: Tensor, means: Means, *, server: Any) -> Any:
        self.seen.append(means)  # type: ignore[attr-defined]
        return params, server


def told(x: Tensor, *attackers: int, clients: tuple[int, ...]) -> Means:
    """What the strategy is told of a round of messages with weights 1, 2, ..."""
    messages = tuple(
        Message({"delta": Weighted(row, place + 1.0), "buffers": Weighted(row[:1])}, {"loss": Weighted(0.5)})
        for place, row in enumerate(x)
    )
    means = Means({"delta": x[0].double()}, {"loss": 0.5}, len(x), 9, messages, clients, 1)
    inner = Sees()
    Attacked(inner, HOSTILE, attackers=mask(*attackers)).step(torch.zeros(x.shape[1]), means, server={})
    found: Means = inner.seen[0]  # type: ignore[attr-defined]
    return found


def test_attackers_of_the_round_send_what_they_agreed_on_with_their_own_weight() -> None:
    x = draw(4, 5)
    means = told(x, 3, 8, clients=(1, 3, 6, 8))
    lie = (-2 * (x[0].double() + x[2].double()) / 2).float()
    for place, expected in enumerate((x[0], lie, x[2], lie)):
        sent = means.messages[place].vectors["delta"]
        assert torch.equal(sent.value, expected)
        assert sent.weight == place + 1.0
        assert torch.equal(means.messages[place].vectors["buffers"].value, x[place, :1])
    mean = (x[0] + 2 * lie + 3 * x[2] + 4 * lie).double() / 10
    torch.testing.assert_close(means.vectors["delta"], mean, rtol=1e-5, atol=1e-6)
    assert means.vectors["delta"].dtype == torch.float64
    assert means.vectors.keys() == {"delta"}
    assert means.numbers == {"loss": 0.5}


@pytest.mark.parametrize("attackers", [(), (2,), (1, 3)])
def test_a_round_of_attackers_alone_or_of_none_is_as_it_is(attackers: tuple[int, ...]) -> None:
    x = draw(2, 5)
    means = told(x, *attackers, clients=(1, 3))
    assert torch.equal(means.vectors["delta"], x[0].double())
    assert torch.equal(means.messages[1].vectors["delta"].value, x[1])


def test_a_rule_inside_sees_the_lies() -> None:
    x = draw(5, 3)
    messages = tuple(Message({"delta": Weighted(row)}) for row in x)
    means = Means({"delta": x.double().mean(0)}, {}, 5, 9, messages, tuple(range(5)), 1)
    strategy = Attacked(Robust(fedavg(), median()), HOSTILE, attackers=mask(1, 4))
    found, _ = strategy.step(torch.zeros(3), means, server={})
    honest = x[[0, 2, 3]]
    lie = (-2 * honest.double().mean(0)).float()
    assert torch.equal(found, torch.cat([honest, lie.expand(2, -1)]).median(0).values)


def test_a_rule_holds_where_the_mean_is_led_astray() -> None:
    attack = gaussian(VECTORS, seed=0, std=30.0)

    def ran(*attackers: int, ruled: bool) -> Tensor:
        inner = Robust(fedavg(), median()) if ruled else fedavg()
        strategy = Attacked(inner, attack, attackers=mask(*attackers))
        return play(strategy)[-1].state.weights.params

    clean = ran(ruled=False)
    assert float((ran(2, 5, ruled=False) - clean).norm()) > 20
    assert float((ran(2, 5, ruled=True) - clean).norm()) < 1


def test_so_many_clients_are_attackers_by_the_seed() -> None:
    for num_clients, fraction, count in [
        (10, 0.3, 3),
        (100, 0.29, 29),
        (9, 0.3, 2),
        (7, 0.0, 0),
        (5, 1.0, 5),
    ]:
        found = draw_attackers(num_clients, fraction=fraction, seed=4)
        assert found.shape == (num_clients,)
        assert int(found.sum()) == count
    one = draw_attackers(1000, fraction=0.3, seed=1)
    assert np.array_equal(one, draw_attackers(1000, fraction=0.3, seed=1))
    assert not np.array_equal(one, draw_attackers(1000, fraction=0.3, seed=2))


def test_more_attackers_are_the_same_ones_and_others() -> None:
    """So that a sweep over the fraction adds attackers and takes none away."""
    some, more = (draw_attackers(50, fraction=fraction, seed=1) for fraction in (0.1, 0.4))
    assert not (some & ~more).any()


def test_those_that_are_trusted_are_never_attackers() -> None:
    for seed in range(30):
        found = draw_attackers(4, fraction=0.75, seed=seed, honest=(2,))
        assert found.tolist() == [True, True, False, True]
    assert draw_attackers(4, fraction=1.0, seed=0, honest=(2,)).sum() == 3


def test_each_client_is_as_likely_as_any_other() -> None:
    counts = sum(draw_attackers(10, fraction=0.3, seed=seed).astype(int) for seed in range(1000))
    assert isinstance(counts, np.ndarray)
    # 1000 draws of 0.3: a deviation of 14.5; four of them, for ten clients.
    assert abs(counts - 300).max() < 58


@pytest.mark.parametrize("make", [fedavg, scaffold, fednova, qfedavg])
def test_a_strategy_with_harmless_attackers_obeys_the_laws_of_strategies(make: Any) -> None:
    harmless = Attack(lie=lambda message, update: message)
    check_strategy(lambda: Attacked(make(), harmless, attackers=mask(1, 2, num_clients=5000)))


def test_only_strategies_with_clients_that_send_take_an_attack() -> None:
    assert problems(fedavg(), sign_flip(VECTORS)) == []
    assert problems(Robust(scaffold(), median()), HOSTILE) == []
    assert problems(fednova(), sign_flip(VECTORS)) == []
    assert "all examples in one place" in problems(central(), label_flip(VECTORS))[0]
    assert "send nothing" in problems(local(), sign_flip(VECTORS))[0]
    assert problems(local(), label_flip(VECTORS)) == []
