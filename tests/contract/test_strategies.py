"""Laws that every federated strategy of the catalog obeys: those of ``nnray.testing``, and others."""

from __future__ import annotations

import pickle
from functools import partial
from importlib import import_module
from typing import Any

import pytest
import torch

from nnray.catalog import CATALOG
from nnray.federated.strategy import Strategy, has_personal, traits
from nnray.registry import parameters
from nnray.testing import LAWS, SLOTS, check_strategy
from nnray.training.optimizers import adagrad, adam, rmsprop, sgd

STRATEGIES = sorted(CATALOG["strategy"])
PARTIAL = {"fedper", "fedrep", "fedbn"}
SHARED = {
    "scaffold": ("variate",),
    "qfedavg": ("loss",),
    "local": ("start",),
    "fedbuff": ("staleness",),
    "fedasync": ("staleness",),
}
STAGED = PARTIAL | {"ditto", "pfedme"}

CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in STRATEGIES),
    ("fedavg", {"weighting": "uniform"}),
    ("fedavgm", {"lr": 0.3, "momentum": 0.0}),
    ("fedprox", {"mu": 0.0}),
    ("fedprox", {"mu": 10.0}),
    ("scaffold", {"lr": 0.5}),
    ("fednova", {"mu": 0.5}),
    ("fedadam", {"bias_correction": True, "betas": (0.0, 0.0)}),
    ("fedyogi", {"bias_correction": True}),
    ("fedadagrad", {"momentum": 0.9}),
    ("feddyn", {"alpha": 10.0}),
    ("fedper", {"personal": ["body.*", "norm.weight"], "weighting": "uniform"}),
    ("fedrep", {"personal": ["head.weight"], "head_epochs": 1}),
    ("ditto", {"lam": 0.0, "personal_epochs": 3}),
    ("pfedme", {"lam": 1.0, "inner_steps": 1, "local_lr": 1.0, "beta": 0.5}),
    ("qfedavg", {"q": 0.0}),
    ("qfedavg", {"q": 5.0, "lipschitz": 10.0}),
    ("fedopt", {"server_optimizer": partial(adam, lr=0.01, amsgrad=True)}),
    ("fedopt", {"server_optimizer": partial(sgd, lr=0.1, momentum=0.9, nesterov=True)}),
    ("fedopt", {"server_optimizer": partial(adagrad, initial_accumulator_value=0.1)}),
    ("fedopt", {"server_optimizer": partial(rmsprop, momentum=0.5, centered=True)}),
]


def factory(name: str) -> Any:
    module, _, function = CATALOG["strategy"][name].partition(":")
    return getattr(import_module(module), function)


def make(name: str, **options: Any) -> Strategy:
    if name == "fedopt":
        options = {"server_optimizer": partial(sgd, lr=1.0, momentum=0.5)} | options
    if name in PARTIAL:
        options = {"slots": SLOTS} | options
    made: Strategy = factory(name)(**options)
    return made


@pytest.mark.parametrize(("name", "options"), CASES)
def test_it_obeys_the_laws_of_strategies(name: str, options: dict[str, Any]) -> None:
    check_strategy(partial(make, name), **options)


@pytest.mark.parametrize("name", STRATEGIES)
def test_its_function_alone_can_be_checked(name: str) -> None:
    check_strategy(factory(name))


@pytest.mark.parametrize("name", STRATEGIES)
def test_it_goes_to_a_worker_and_is_the_same_there(name: str) -> None:
    strategy = make(name)
    there = pickle.loads(pickle.dumps(strategy))
    assert traits(there) == traits(strategy)
    check_strategy(lambda: there)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_key_has_a_default_and_a_text(name: str) -> None:
    for key, parameter in parameters("strategy", name).items():
        assert not parameter.required, key
        assert parameter.help.endswith("."), key


@pytest.mark.parametrize("name", STRATEGIES)
def test_only_what_keeps_state_keeps_any(name: str) -> None:
    expected = {"scaffold", "feddyn", "local"} | STAGED
    assert make(name).has_client_state == (name in expected)
    assert has_personal(make(name)) == (name in {"local"} | STAGED)
    assert make(name).needs_start_loss == (name == "qfedavg")


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_it_says_of_itself(name: str) -> None:
    said = traits(make(name))
    assert said.pooled == (name == "central")
    assert said.is_personal == (name == "local")
    assert said.is_partial == (name in PARTIAL)
    assert said.is_staged == (name in STAGED)
    assert said.own_buffers == (name == "fedbn")
    assert (said.local_steps, said.full_batch) == ((1, True) if name == "fedsgd" else (None, False))
    assert said.needs_sgd == (name in {"scaffold", "fednova"})
    assert not said.collects
    assert said.shared == SHARED.get(name, ())


@pytest.mark.parametrize("name", STRATEGIES)
def test_server_state_is_of_the_size_of_the_weights_at_most(name: str) -> None:
    state = make(name).server_state(torch.ones(7))
    assert all(value.shape in {(7,), ()} for value in state.values())


def test_there_are_laws() -> None:
    assert len(LAWS) == 7
