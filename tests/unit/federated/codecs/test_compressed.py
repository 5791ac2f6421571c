"""A compressed strategy in the engine: what is sent, kept, counted and drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from nnray.errors import DataError
from nnray.federated.codecs.codec import Codec
from nnray.federated.codecs.compressed import Compressed
from nnray.federated.codecs.low_rank import powersgd
from nnray.federated.codecs.quantised import int8, qsgd, signsgd
from nnray.federated.codecs.sparse import random_k, top_k
from nnray.federated.outcome import Outcome, RoundStart
from nnray.federated.rounds import RoundReport, RoundState, rounds
from nnray.federated.sampling import Cohort
from nnray.federated.strategies.baselines import local as local_strategy
from nnray.federated.strategies.fedavg import fedavg
from nnray.federated.strategies.scaffold import scaffold
from nnray.federated.strategy import ClientUpdate, Strategy, Vectors
from nnray.federated.weights import FlatModel
from tests.unit.federated.small import examples, loss_fn, model, parts, trainer

SLOTS = FlatModel(model()).slots
SIZE = sum(slot.size for slot in SLOTS)
CODECS = [
    top_k(share=0.1),
    random_k(share=0.1),
    qsgd(),
    int8(),
    signsgd(slots=SLOTS),
    powersgd(rank=1, slots=SLOTS),
]


def around(codec: Codec, strategy: Strategy | None = None, *, seed: int = 1) -> Compressed:
    return Compressed(strategy or fedavg(), codec, slots=SLOTS, seed=seed)


def update(delta: torch.Tensor, *, client: int = 2, round_: int = 1) -> ClientUpdate:
    return ClientUpdate(client, 8, 2, 0.1, 0.0, delta, 1.0, float("nan"), round_)


def ran(
    strategy: Strategy,
    *,
    num_rounds: int = 4,
    begin: RoundState | None = None,
    states: dict[int, Vectors] | None = None,
    **changes: Any,
) -> tuple[RoundReport, dict[int, Vectors]]:
    """Rounds of three clients of six."""
    crew, kept = trainer(strategy=strategy, **changes), dict(states or {})
    weights = crew.flat.weights()
    begin = begin or RoundState(0, weights, strategy.server_state(weights.params))

    def train(start: RoundStart, clients: Any) -> Outcome:
        return crew.run(start, clients, states=kept)

    def draw(number: int) -> Cohort:
        return Cohort(np.array([(number + step) % 6 for step in (0, 2, 3)]), np.array([], dtype=np.int64))

    for report in rounds(
        begin, strategy, num_rounds=num_rounds, draw=draw, train_clients=train, population=6
    ):
        kept.update(report.kept)
    return report, kept


@pytest.mark.parametrize("codec", CODECS)
def test_nothing_is_sent_of_what_is_between_tensors(codec: Codec) -> None:
    flat, strategy = FlatModel(model()), around(codec)
    delta = torch.zeros_like(flat.params)
    for slot in flat.slots:
        slot.of(delta).normal_(generator=torch.Generator().manual_seed(slot.start))
    message = strategy.message(update(delta), server={}, client={})
    inside = torch.zeros_like(delta, dtype=torch.bool)
    for slot in flat.slots:
        slot.of(inside).fill_(True)
    assert not inside.all(), "the test's model has no gaps"
    assert message.vectors["delta"].value[~inside].abs().max() == 0.0


@pytest.mark.parametrize("codec", CODECS)
def test_bytes_are_those_of_what_goes_over_the_link(codec: Codec) -> None:
    report, _ = ran(strategy := around(codec), num_rounds=1)
    crew, expected = trainer(), 0
    for client in (1, 3, 4):
        delta = crew.train(RoundStart(round=1, weights=crew.flat.weights()), client, state={}).delta
        dense = torch.cat([slot.of(delta).flatten() for slot in SLOTS])
        expected += len(codec.encode(dense, seed=strategy.seed_of(1, client, name="delta")))
    assert report.bytes_up == expected < 3 * 4 * SIZE


def test_float_buffers_count_beside_them() -> None:
    plain, _ = ran(around(int8()), num_rounds=1)
    normed, _ = ran(around(int8()), num_rounds=1, module=model(norm=True), clients=parts())
    assert normed.bytes_up > plain.bytes_up


def test_all_that_is_sent_goes_through_the_codec_and_is_counted() -> None:
    strategy = around(random_k(share=0.5), scaffold())
    params = FlatModel(model()).params
    message = strategy.message(
        update(torch.ones_like(params)), server=strategy.server_state(params), client={}
    )
    assert message.num_bytes == 2 * 4 * round(SIZE / 2)
    assert set(message.kept) == {"variate", "residual/delta", "residual/variate"}
    assert not torch.equal(message.vectors["delta"].value != 0, message.vectors["variate"].value != 0), (
        "both vectors drew the same entries"
    )


def test_draws_are_shared_where_indices_are_and_only_there() -> None:
    assert around(random_k()).seed_of(3, 1, name="delta") == around(random_k()).seed_of(3, 2, name="delta")
    assert around(qsgd()).seed_of(3, 1, name="delta") != around(qsgd()).seed_of(3, 2, name="delta")
    for codec in (random_k(), qsgd()):
        seeds = {around(codec, seed=s).seed_of(r, 1, name=n) for s in (1, 2) for r in (1, 2) for n in "ab"}
        assert len(seeds) == 8


def test_what_got_lost_comes_with_the_next_message() -> None:
    strategy = around(top_k(share=0.02))
    delta = torch.zeros_like(FlatModel(model()).params)
    delta[0], delta[1] = 2.0, 1.0
    first = strategy.message(update(delta), server={}, client={})
    second = strategy.message(update(torch.zeros_like(delta)), server={}, client=first.kept)
    assert first.vectors["delta"].value.nonzero().flatten().tolist() == [0]
    assert second.vectors["delta"].value[:2].tolist() == [0.0, 1.0]
    assert second.kept["residual/delta"].abs().max() == 0.0


def test_the_strategy_inside_sees_its_own_state_alone() -> None:
    strategy = around(top_k(), local_strategy())
    params = FlatModel(model()).params
    server = strategy.server_state(params)
    pull = strategy.pull(server, {"residual/delta": torch.ones_like(params)})
    assert pull.start is not None and torch.equal(pull.start, params)


def test_only_feedback_makes_clients_keep_something() -> None:
    for codec in CODECS:
        assert around(codec).has_client_state == codec.error_feedback
        assert around(codec, scaffold()).has_client_state


@pytest.mark.parametrize("codec", CODECS)
def test_rounds_resume_exactly(codec: Codec) -> None:
    whole, _ = ran(around(codec), num_rounds=6)
    half, kept = ran(around(codec), num_rounds=3)
    other, _ = ran(around(codec), num_rounds=6, begin=half.state, states=kept)
    assert torch.equal(other.state.weights.params, whole.state.weights.params)


@pytest.mark.parametrize("codec", CODECS)
def test_clients_apart_sum_to_the_same_as_clients_together(codec: Codec) -> None:
    strategy = around(codec)
    one, other = trainer(strategy=strategy), trainer(strategy=strategy)
    start = RoundStart(round=1, weights=one.flat.weights(), room=4)
    together = one.run(start, [0, 1, 2, 3], states={})
    apart = other.run(start, [3, 1], states={}) + one.run(start, [2, 0], states={})
    assert torch.equal(together.sums.vectors["delta"].total, apart.sums.vectors["delta"].total)
    assert together.bytes_up == apart.bytes_up


def test_a_change_that_is_not_finite_is_a_clients_failure_by_name() -> None:
    bad = torch.full_like(FlatModel(model()).params, float("nan"))
    with pytest.raises(DataError, match=r"its 'delta': an update with .* entries that are not finite"):
        around(top_k()).message(update(bad), server={}, client={})


def test_training_with_feedback_comes_near_to_training_without_a_codec() -> None:
    def loss_of(strategy: Strategy) -> float:
        report, _ = ran(strategy, num_rounds=60)
        crew = trainer()
        crew.flat.load(report.state.weights)
        found = examples()
        return loss_fn(crew.flat.module, found.inputs, found.targets)[1].item()

    plain = loss_of(fedavg())
    assert plain < 0.4
    for codec in CODECS:
        assert loss_of(around(codec)) < plain + 0.15
    forgetful = replace(random_k(share=0.02), correction="none")
    assert loss_of(around(forgetful)) > plain + 0.15, (
        "even without feedback it is as good: the test is too easy"
    )
