"""What a client's training comes to: equal to a plain loop, and the same whoever computes it."""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nnray.federated.client import ClientTrainer
from nnray.federated.exact import Sums
from nnray.federated.orders import order_key, permutations
from nnray.federated.outcome import BUFFERS, Outcome, RoundStart
from nnray.federated.strategy import ClientUpdate, Pull, Vectors
from nnray.federated.weights import FlatModel
from tests.unit.federated.small import Clients, Mean, examples, loss_fn, model, parts, sgd, trainer


def start(module: nn.Module | None = None, **changes: object) -> RoundStart:
    weights = FlatModel(copy.deepcopy(module or model())).weights()
    return replace(RoundStart(round=1, weights=weights, room=6), **changes)  # type: ignore[arg-type]


def same(one: Outcome, other: Outcome) -> bool:
    totals = all(
        torch.equal(value.total, other.sums.vectors[name].total) for name, value in one.sums.vectors.items()
    )
    return totals and one.sums.numbers == other.sums.numbers and one.sums.count == other.sums.count


def by_hand(client: int, *, epochs: int = 1, batch_size: int = 4, steps: int | None = None) -> Tensor:
    """The client's change, by a loop of its own."""
    module, data = model(), examples()
    index = torch.from_numpy(parts().of(client))
    inputs, targets = data.inputs[index], data.targets[index]
    optimizer, key = sgd(list(module.parameters())), np.array([order_key(0, "client", 1, client)])
    before = FlatModel(copy.deepcopy(module)).params
    left = steps or epochs * -(-len(index) // batch_size)
    for number in itertools.count():
        order = torch.from_numpy(permutations(key, len(index), number=number)[0])
        for batch in order.split(batch_size)[:left]:
            optimizer.zero_grad()
            torch.autograd.backward(loss_fn(module, inputs[batch], targets[batch])[1])
            optimizer.step()
            left -= 1
        if not left:
            break
    return FlatModel(module).params - before


@pytest.mark.parametrize("options", [{}, {"epochs": 3}, {"batch_size": 100}, {"steps": 7}, {"steps": 1}])
@pytest.mark.parametrize("client", [0, 5])
def test_a_client_trains_as_a_plain_loop_does(client: int, options: dict[str, int]) -> None:
    changes: dict[str, Any] = dict(options)
    update = trainer(**changes).train(start(), client, state={})
    torch.testing.assert_close(update.delta, by_hand(client, **options), atol=1e-6, rtol=1e-5)
    assert update.num_examples == len(parts().of(client))


def test_the_whole_of_a_clients_examples_is_one_step() -> None:
    update = trainer(batch_size=None, epochs=2).train(start(), 5, state={})
    assert update.num_steps == 2
    torch.testing.assert_close(update.delta, by_hand(5, epochs=2, batch_size=100), atol=1e-6, rtol=1e-5)


def test_what_was_trained_before_leaves_no_trace() -> None:
    """In any order, in one process or in two, with dropout and batch norm."""
    module = model(norm=True, dropout=0.5)
    begin = start(module)
    one = trainer(copy.deepcopy(module), batch_size=3, epochs=2)
    whole = one.run(begin, [0, 1, 2, 3, 4, 5], states={})
    turned = one.run(begin, [5, 3, 1, 0, 2, 4], states={})
    a, b = (trainer(model(7, norm=True, dropout=0.5), batch_size=3, epochs=2) for _ in range(2))
    torch.rand(3)
    cut = a.run(begin, [4, 0], states={}) + b.run(begin, [1, 2, 5, 3], states={})
    assert not whole.failures
    assert same(whole, turned)
    assert same(whole, cut)


def test_the_callers_random_numbers_are_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    trainer(model(dropout=0.5)).run(start(), [0, 1], states={})
    assert torch.equal(torch.rand(4), expected)


def test_rounds_and_clients_draw_apart() -> None:
    module = model(dropout=0.5)
    clients = Clients([range(12), range(12)])
    trains = trainer(module, clients=clients)
    deltas = [
        trains.train(start(module, round=number), client, state={}).delta
        for number in (1, 2)
        for client in (0, 1)
    ]
    assert len({tuple(delta.tolist()) for delta in deltas}) == 4


def test_a_pull_is_added_to_every_gradient() -> None:
    """Towards the start, and along a drift: by hand over three steps."""
    flat = FlatModel(model())
    drift = torch.zeros_like(flat.params)
    flat.slots[0].of(drift).fill_(0.3)
    pulled = trainer(
        strategy=Mean(pull_by=lambda server, client: Pull(0.5, drift)), batch_size=None, epochs=3
    ).train(start(), 5, state={})
    data, module = examples(), model()
    index = torch.from_numpy(parts().of(5))
    begin = [p.detach().clone() for p in module.parameters()]
    optimizer = sgd(list(module.parameters()))
    for _ in range(3):
        torch.autograd.backward(loss_fn(module, data.inputs[index], data.targets[index])[1])
        for place, (param, first) in enumerate(zip(module.parameters(), begin, strict=True)):
            assert param.grad is not None
            param.grad += 0.5 * (param.detach() - first) + (0.3 if place == 0 else 0.0)
        optimizer.step()
        optimizer.zero_grad()
    expected = FlatModel(module).params - FlatModel(model()).params
    torch.testing.assert_close(pulled.delta, expected, atol=1e-6, rtol=1e-5)


def test_a_client_may_start_from_weights_of_its_own() -> None:
    own = torch.full_like(FlatModel(model()).params, 0.01)
    trains = trainer(strategy=Mean(pull_by=lambda server, client: Pull(start=own)))
    update = trains.train(start(), 2, state={})
    torch.testing.assert_close(trains.flat.params, own + update.delta)


def test_the_rate_is_the_rounds() -> None:
    usual, double = (trainer(steps=1).train(start(lr=lr), 5, state={}) for lr in (None, 0.2))
    assert (usual.lr, double.lr) == (0.1, 0.2)
    torch.testing.assert_close(double.delta, 2 * usual.delta, atol=1e-6, rtol=1e-5)


def test_the_loss_at_the_start_is_measured_where_it_is_needed() -> None:
    data, module = examples(), model(dropout=0.5)
    index = torch.from_numpy(parts().of(4))
    expected = float(loss_fn(model().eval(), data.inputs[index], data.targets[index])[1].detach())
    update = trainer(module, Mean(needs_start_loss=True)).train(start(module), 4, state={})
    assert update.start_loss == pytest.approx(expected, rel=1e-5)
    assert math.isnan(trainer(module).train(start(module), 4, state={}).start_loss)


def test_what_clients_keep_comes_back_to_them() -> None:
    trains = trainer(strategy=Mean(has_client_state=True))
    first = trains.run(start(), [1, 3], states={3: {"seen": torch.tensor([4.0])}})
    assert {client: float(kept["seen"]) for client, kept in first.kept.items()} == {1: 1.0, 3: 5.0}
    assert trainer().run(start(), [1], states={}).kept == {}


def test_buffers_are_averaged_beside_the_parameters() -> None:
    module = model(norm=True)
    outcome = trainer(module).run(start(module), [4, 5], states={})
    assert set(outcome.sums.vectors) == {"delta", BUFFERS}
    assert outcome.ints is not None
    assert int(outcome.ints.max()) == max(r.num_steps for r in outcome.reports)
    assert set(trainer().run(start(), [4], states={}).sums.vectors) == {"delta"}


def test_messages_come_one_by_one_where_they_are_needed() -> None:
    outcome = trainer(strategy=Mean(collects=True)).run(start(), [2, 0], states={})
    assert sorted(outcome.messages) == [0, 2]
    assert trainer().run(start(), [2, 0], states={}).messages == {}


def broken(kind: str) -> ClientTrainer:
    """A trainer in which something is wrong for client 2 alone."""
    data = examples()
    at = parts().of(2)[0]
    if kind == "nan":
        data.inputs[at] = math.nan
    if kind == "label":
        data.targets[at] = 7

    def vectors(update: ClientUpdate) -> Tensor:
        if update.client != 2:
            return update.delta
        if kind == "raises":
            raise RuntimeError("the disk of client 2 is gone")
        return {
            "shape": update.delta[:3],
            "inf": update.delta + math.inf,
        }.get(kind, update.delta)

    def pull(server: Vectors, client: Vectors) -> Pull:
        return Pull()

    return trainer(strategy=Mean(vectors=vectors, pull_by=pull), data=data)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("nan", "not finite"),
        ("label", "out of bounds"),
        ("raises", "RuntimeError: the disk of client 2 is gone"),
        ("shape", "has shape [3], not"),
        ("inf", "not finite"),
    ],
)
def test_a_client_that_fails_is_named_and_left_out_of_the_sums(kind: str, error: str) -> None:
    outcome = broken(kind).run(start(), [0, 1, 2, 3], states={})
    assert [failed.client for failed in outcome.failures] == [2]
    assert error in outcome.failures[0].error
    assert "Traceback" in outcome.failures[0].trace
    assert [report.client for report in outcome.reports] == [0, 1, 3]
    assert same(outcome, trainer().run(start(), [0, 1, 3], states={}))


def test_a_batch_of_one_under_batch_norm_is_told_with_what_to_do() -> None:
    module = model(norm=True)
    outcome = trainer(module, clients=Clients([range(5)])).run(start(module), [0], states={})
    assert "batch norm needs two examples in every batch" in outcome.failures[0].error


def test_it_is_told_who_is_next() -> None:
    told: list[int] = []
    trains = ClientTrainer(
        model(),
        Mean(),
        examples=examples(),
        population=parts(),
        local=trainer()._local,
        on_client=told.append,
    )
    trains.run(start(), [3, 1], states={})
    assert told == [3, 1]


def test_nobody_comes_to_nothing() -> None:
    outcome = trainer().run(start(), [], states={})
    assert (outcome.sums, outcome.ints, outcome.reports) == (Sums(), None, ())
