"""Personal strategies against their algorithms written out by hand, and what each is with a part off."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from nnray.federated.outcome import FLOATS
from nnray.federated.strategies.baselines import local
from nnray.federated.strategies.ditto import ditto
from nnray.federated.strategies.fedavg import fedavg
from nnray.federated.strategies.fedbn import fedbn
from nnray.federated.strategies.fedper import fedper
from nnray.federated.strategies.fedrep import fedrep
from nnray.federated.strategies.pfedme import pfedme
from nnray.federated.strategy import personal_params
from nnray.federated.weights import FlatModel, Slot
from tests.golden.personal_work import SIZES, STEPS, Played, data, descend, loss_of, mean, model, same

UNIFORM = (1.0, 1.0, 1.0)


def slots(*, norm: bool = False) -> tuple[Slot, ...]:
    return FlatModel(model(norm=norm)).slots


def own(played: Played, client: int) -> nn.Module:
    """A client's own model."""
    params = played.state.weights.params
    return played.module(personal_params(played.strategy, params, client=played.kept[client]))


def with_head(body: nn.Module, head: nn.Module) -> nn.Module:
    found = copy.deepcopy(body)
    found[-1].load_state_dict(head[-1].state_dict())  # type: ignore[index]
    return found


def is_head(name: str) -> bool:
    return name.startswith("2.")


def test_fedper_averages_the_body_and_leaves_heads_where_they_are() -> None:
    """Arivazhagan et al. 2019, algorithms 1 and 2."""
    played = Played(fedper(slots=slots())).play(3)
    server, heads = model().double(), [model().double() for _ in SIZES]
    for _ in range(3):
        ends = [descend(with_head(server, heads[i]), i) for i in range(3)]
        heads, server = ends, with_head(mean(ends, SIZES), model().double())
    same(played.module(), server)
    for client in range(3):
        same(own(played, client), with_head(server, heads[client]))


def test_fedrep_trains_the_head_and_then_the_body() -> None:
    """Collins et al. 2021, algorithm 1."""
    played = Played(fedrep(slots=slots(), head_epochs=4)).play(3)
    server, heads = model().double(), [model().double() for _ in SIZES]
    for _ in range(3):
        begun = [descend(with_head(server, heads[i]), i, steps=4, only=is_head) for i in range(3)]
        ends = [descend(begun[i], i, only=lambda name: not is_head(name)) for i in range(3)]
        heads, server = begun, with_head(mean(ends, UNIFORM), model().double())
    same(played.module(), server)
    for client in range(3):
        same(own(played, client), with_head(server, heads[client]))


@pytest.mark.parametrize("lam", [0.0, 0.8])
def test_ditto_holds_own_models_near_the_global_one(lam: float) -> None:
    """Li et al. 2021, algorithm 1."""
    played = Played(ditto(lam=lam)).play(3)
    server, owned = model().double(), [model().double() for _ in SIZES]
    for _ in range(3):
        ends = [descend(server, client) for client in range(3)]
        owned = [descend(owned[i], i, lam=lam, anchor=server) for i in range(3)]
        server = mean(ends, SIZES)
    same(played.module(), server)
    for client in range(3):
        same(own(played, client), owned[client])


def test_dittos_global_model_is_that_of_fedavg_bit_for_bit() -> None:
    found, expected = Played(ditto(lam=0.5), norm=True).play(3), Played(fedavg(), norm=True).play(3)
    assert torch.equal(found.state.weights.params, expected.state.weights.params)
    assert torch.equal(found.state.weights.floats, expected.state.weights.floats)
    assert torch.equal(found.state.weights.ints, expected.state.weights.ints)


def test_ditto_with_lambda_0_is_local_training() -> None:
    found, alone = Played(ditto(lam=0.0), norm=True).play(4), Played(local(), norm=True).play(4)
    for client in range(3):
        for name in ("params", FLOATS):
            torch.testing.assert_close(found.kept[client][name], alone.kept[client][name], rtol=0, atol=2e-6)


def test_the_stronger_dittos_pull_the_nearer_is_the_global_model() -> None:
    gaps = []
    for lam in (0.0, 0.5, 2.0):
        played = Played(ditto(lam=lam)).play(6)
        gaps.append(float((played.kept[1]["params"] - played.state.weights.params).norm()))
    assert gaps[0] > 1.5 * gaps[1] > 1.5 * 1.5 * gaps[2]


def test_pfedme_is_its_algorithm() -> None:
    """Dinh et al. 2020, algorithm 1: R = 3 local rounds of K = 4 steps on a batch."""
    lam, eta, beta, inner = 1.5, 0.3, 0.7, 4
    played = Played(pfedme(lam=lam, local_lr=eta, beta=beta, inner_steps=inner)).play(3)
    server = model().double()
    for _ in range(3):
        copies, thetas = [], []
        for client in range(3):
            w, theta = copy.deepcopy(server), server
            for _ in range(STEPS):
                theta = descend(theta, client, steps=inner, lam=lam, anchor=w)
                w = mean([w, theta], [1 - eta * lam, eta * lam])
            copies.append(w)
            thetas.append(theta)
        server = mean([server, mean(copies, UNIFORM)], [1 - beta, beta])
    same(played.module(), server)
    for client in range(3):
        same(own(played, client), thetas[client])


def test_pfedme_of_single_steps_that_the_copies_follow_is_fedavg() -> None:
    """With K = 1 and eta times lambda = 1 the copy is the personal model, and nothing pulls at it."""
    found = Played(pfedme(lam=4.0, local_lr=0.25, inner_steps=1)).play(4)
    same(found.module(), Played(fedavg(weighting="uniform")).play(4).module(), within=1e-5)


def test_fedbn_keeps_batch_norm_and_its_statistics() -> None:
    """Li et al. 2021: all but batch norm is averaged."""
    played = Played(fedbn(slots=slots(norm=True)), norm=True).play(1)
    first = model(norm=True).double().train()
    ends = [descend(first, client) for client in range(3)]
    averaged = mean(ends, SIZES)
    for name, param in played.module().named_parameters():
        expected = first if name.startswith("1.") else averaged
        assert (param.double() - expected.get_parameter(name)).abs().max().item() < 2e-6, name
    assert torch.equal(played.state.weights.floats, FlatModel(model(norm=True)).buffers()[0])
    for client, end in enumerate(ends):
        norm = end[1]  # type: ignore[index]
        torch.testing.assert_close(
            played.kept[client]["own"].double(), torch.cat([norm.weight, norm.bias]).detach()
        )
        torch.testing.assert_close(played.kept[client][FLOATS][:5].double(), norm.running_mean)


def test_fedbn_of_one_client_is_local_training() -> None:
    alone = Played(local(), norm=True, clients=[1]).play(4)
    found = Played(fedbn(slots=slots(norm=True)), norm=True, clients=[1]).play(4)
    params = personal_params(found.strategy, found.state.weights.params, client=found.kept[1])
    torch.testing.assert_close(params, alone.kept[1]["params"], rtol=0, atol=2e-6)
    torch.testing.assert_close(found.kept[1][FLOATS], alone.kept[1][FLOATS])


def test_fedper_of_one_client_is_local_training() -> None:
    alone = Played(local(), clients=[2]).play(4)
    found = Played(fedper(slots=slots()), clients=[2]).play(4)
    params = personal_params(found.strategy, found.state.weights.params, client=found.kept[2])
    torch.testing.assert_close(params, alone.kept[2]["params"], rtol=0, atol=2e-6)


def test_personal_models_fit_their_clients_better_than_one_model_for_all() -> None:
    def loss(played: Played, module: nn.Module, client: int) -> float:
        examples, index = data()[0], data()[1][client]
        return loss_of(module, examples.inputs[index], examples.targets[index]).item()

    common = Played(fedavg()).play(10)
    for strategy in (fedper(slots=slots()), fedrep(slots=slots()), ditto(), pfedme(lam=1.0, local_lr=0.5)):
        played = Played(strategy).play(10)
        mine = sum(loss(played, own(played, client), client) for client in range(3))
        assert mine < 0.9 * sum(loss(common, common.module(), client) for client in range(3)), strategy
