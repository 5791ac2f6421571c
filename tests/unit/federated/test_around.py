"""What is put around a strategy changes nothing by itself."""

import copy

import pytest
import torch

from nnray.federated.around import Around, joined, other_part, own_part
from nnray.federated.strategies.baselines import central
from nnray.federated.strategies.scaffold import scaffold
from nnray.federated.strategy import ClientUpdate, Means, traits


def test_the_traits_of_the_strategy_inside_are_seen() -> None:
    assert traits(Around(central())) == traits(central())
    assert traits(Around(central())).pooled
    assert Around(scaffold()).has_client_state


def test_what_neither_has_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="colour"):
        _ = Around(scaffold()).colour
    assert traits(copy.deepcopy(Around(central()))).pooled


def test_all_functions_are_those_of_the_strategy_inside() -> None:
    plain, around = scaffold(), Around(Around(scaffold()))
    params, delta = torch.randn(5), torch.randn(5)
    server = plain.server_state(params)
    assert around.server_state(params).keys() == server.keys()
    pull, same = plain.pull(server, {}), around.pull(server, {})
    assert pull.proximal == same.proximal
    update = ClientUpdate(3, 8, 2, 0.1, 0.0, delta, 1.0, float("nan"), 4)
    message, other = (s.message(update, server=server, client={}) for s in (plain, around))
    assert message.vectors.keys() == other.vectors.keys()
    means = Means({n: v.value.double() for n, v in message.vectors.items()}, {}, 1, 2)
    stepped, again = (s.step(params, means, server=server)[0] for s in (plain, around))
    assert torch.equal(stepped, again)


def test_a_state_is_cut_in_two_and_joined() -> None:
    inner, own = {"drift": torch.ones(2)}, {"delta": torch.zeros(2)}
    state = joined(inner, own, prefix="residual")
    assert set(state) == {"drift", "residual/delta"}
    assert own_part(state, "residual").keys() == own.keys()
    assert other_part(state, "residual").keys() == inner.keys()
