"""Laws that every attack of the catalog obeys: attackers alone lie, the same way whoever computes."""

from __future__ import annotations

import inspect
import pickle
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nnray.catalog import CATALOG
from nnray.federated.aggregation.aggregator import Aggregator
from nnray.federated.aggregation.coordinates import median
from nnray.federated.aggregation.robust import Robust
from nnray.federated.attacks.attack import Attack
from nnray.federated.attacks.attacked import Attacked, altered_examples
from nnray.federated.rounds import RoundReport
from nnray.federated.strategies.fedavg import fedavg
from nnray.federated.strategies.scaffold import scaffold
from nnray.federated.strategy import ClientUpdate, Means, Message, Strategy, Weighted, traits
from nnray.registry import parameters
from nnray.seeding import torch_rng
from tests.unit.federated.hostile import IMAGES, VECTORS, mask, play

ATTACKS = sorted(CATALOG["client_attack"])
NEED_IMAGES = {"backdoor"}
every_attack = pytest.mark.parametrize("name", ATTACKS)
on_vectors = pytest.mark.parametrize("name", sorted(set(ATTACKS) - NEED_IMAGES))


def make(name: str, *, seed: int = 5, **options: Any) -> Attack:
    module, _, function = CATALOG["client_attack"][name].partition(":")
    made = getattr(import_module(module), function)
    if "seed" in inspect.signature(made).parameters:
        options["seed"] = seed
    attack: Attack = made(IMAGES if name in NEED_IMAGES else VECTORS, **options)
    return attack


def attacked(name: str, *attackers: int, inner: Strategy | None = None) -> Attacked:
    return Attacked(inner or fedavg(), make(name), attackers=mask(*attackers))


def played(name: str, *attackers: int, inner: Strategy | None = None, **options: Any) -> list[RoundReport]:
    alter = altered_examples(make(name), attackers=mask(*attackers), before=None)
    return play(attacked(name, *attackers, inner=inner), alter=alter, **options)


def params_of(reports: list[RoundReport]) -> Tensor:
    return reports[-1].state.weights.params


def update(client: int, size: int = 12) -> ClientUpdate:
    delta = torch.randn(size, generator=torch_rng(0, "delta", client))
    return ClientUpdate(client, 3 + client, 2, 0.1, 0.0, delta, 1.0, 1.0, 4)


@every_attack
def test_it_does_something_in_one_place_at_least(name: str) -> None:
    attack = make(name)
    assert any(part is not None for part in (attack.alter, attack.lie, attack.collude))
    assert (attack.trigger is None) == (attack.target is None)


@every_attack
def test_an_honest_client_sends_and_learns_what_it_would(name: str) -> None:
    strategy, honest = attacked(name, 1, 3), update(2)
    sent = strategy.message(honest, server={}, client={})
    assert sent.vectors["delta"].value is honest.delta
    alter = altered_examples(make(name), attackers=mask(1, 3), before=None)
    if alter is not None:
        inputs, targets = torch.rand(4, 1, 6, 6), torch.tensor([0, 1, 2, 1])
        same = alter(inputs, targets, 2, np.arange(4))
        assert same[0] is inputs
        assert same[1] is targets


@on_vectors
def test_without_attackers_a_run_is_as_without_an_attack(name: str) -> None:
    found, plain = played(name), play(fedavg())
    assert torch.equal(params_of(found), params_of(plain))


@on_vectors
@pytest.mark.parametrize("inner", [fedavg(), Robust(fedavg(), median()), scaffold()])
def test_with_attackers_a_run_comes_elsewhere(name: str, inner: Strategy) -> None:
    found, plain = played(name, 1, 7, inner=inner), play(inner)
    assert not torch.equal(params_of(found), params_of(plain))
    assert torch.isfinite(params_of(found)).all()


@on_vectors
@pytest.mark.parametrize("rule", [None, median()], ids=["plain", "median"])
def test_the_bits_are_the_same_for_any_number_of_workers(name: str, rule: Aggregator | None) -> None:
    inner = fedavg() if rule is None else Robust(fedavg(), rule)
    found = [params_of(played(name, 1, 7, inner=inner, workers=number)) for number in (1, 2, 4)]
    assert all(torch.equal(other, found[0]) for other in found)


@on_vectors
def test_rounds_go_on_where_they_stood(name: str) -> None:
    reports = played(name, 1, 7, num_rounds=4)
    again = played(name, 1, 7, num_rounds=4, state=reports[1].state)
    assert len(again) == 2
    assert torch.equal(params_of(again), params_of(reports))


@every_attack
def test_what_an_attacker_does_is_the_same_each_time_and_changes_nothing_it_is_given(name: str) -> None:
    attack, one = make(name), update(1)
    before, again = one.delta.clone(), pickle.loads(pickle.dumps(attack))
    if attack.lie is not None:
        message = Message({"delta": Weighted(one.delta, 7.0)}, kept={"own": one.delta})
        lies = [each.lie(message, one) for each in (attack, again, make(name))]
        assert all(torch.equal(lie.vectors["delta"].value, lies[0].vectors["delta"].value) for lie in lies)
        assert lies[0].vectors["delta"].value.dtype == torch.float32
        assert lies[0].vectors["delta"].weight == 7.0
        assert lies[0].kept is message.kept
    if attack.alter is not None:
        inputs, targets = torch.rand(8, 1, 6, 6), torch.arange(8) % 3
        kept = inputs.clone(), targets.clone()
        taught = [each.alter(inputs, targets, 1, np.arange(8)) for each in (attack, again, make(name))]
        assert all(torch.equal(x, taught[0][0]) and torch.equal(y, taught[0][1]) for x, y in taught)
        assert torch.equal(inputs, kept[0])
        assert torch.equal(targets, kept[1])
        assert not torch.equal(taught[0][1], targets)
    assert torch.equal(one.delta, before)


@every_attack
def test_it_asks_for_all_messages_only_where_attackers_agree(name: str) -> None:
    attack = make(name)
    assert traits(attacked(name, 1)).collects == (attack.collude is not None)
    assert traits(attacked(name, 1, inner=Robust(fedavg(), median()))).collects
    assert traits(pickle.loads(pickle.dumps(attacked(name, 1)))) == traits(attacked(name, 1))


@every_attack
def test_a_round_to_which_nobody_came_goes_to_the_strategy_as_it_is(name: str) -> None:
    class Counts:
        def step(self, params: Tensor, means: Means, *, server: Any) -> Any:
            return params + 1, {"seen": params}

    params, _ = attacked(name, 1, inner=Counts()).step(  # type: ignore[arg-type]
        torch.zeros(2), Means({}, {}, 0, 9), server={}
    )
    assert torch.equal(params, torch.ones(2))


@every_attack
def test_every_key_has_a_default_and_a_text(name: str) -> None:
    for key, parameter in parameters("client_attack", name).items():
        assert not parameter.required, key
        assert parameter.help.endswith("."), key
        assert key != "seed"
