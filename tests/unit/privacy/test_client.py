"""Client-level privacy as a mechanism: what one client can change, and how much noise there is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from nnray.errors import ConfigError, NnrayError
from nnray.federated.strategies import adaptive, fedavgm, fedopt, fedprox, fedsgd
from nnray.federated.strategies.baselines import central, local
from nnray.federated.strategies.fedavg import fedavg
from nnray.federated.strategies.fednova import fednova
from nnray.federated.strategies.qfedavg import qfedavg
from nnray.federated.strategies.scaffold import scaffold
from nnray.federated.strategy import ClientUpdate, Means, Message, Strategy, Vectors, Weighted, traits
from nnray.federated.weights import Slot
from nnray.privacy.accounting import Phase, Trees
from nnray.privacy.client import BELOW, Noise, Private, problems
from nnray.privacy.clipping import Clipping, bit_noise, update_noise
from nnray.seeding import torch_rng
from nnray.testing import LAWS, means_of

SIZE = 48
SLOTS = (Slot("a", 0, (3, 5)), Slot("b", 16, (9,)), Slot("c", 32, (16,)))
ONE_VECTOR = [
    fedavg,
    fedprox.fedprox,
    fedavgm.fedavgm,
    adaptive.fedadam,
    adaptive.fedyogi,
    adaptive.fedadagrad,
    fedsgd.fedsgd,
    partial(fedopt.fedopt, server_optimizer=partial(torch.optim.SGD, lr=1.0)),
]


def private(inner: Strategy | None = None, **options: Any) -> Private:
    clip = {key: options.pop(key) for key in ("norm", "by", "quantile") if key in options}
    seed, slots = options.pop("seed", 7), options.pop("slots", ())
    noise = Noise(**{"multiplier": 1.0, "cohort": 4.0, **options})
    return Private(
        inner or fedavg(), clipping=Clipping(**{"norm": 1.0, **clip}), noise=noise, seed=seed, slots=slots
    )


def update(
    client: int, *, scale: float = 1.0, examples: int = 1, round_: int = 1, size: int = SIZE
) -> ClientUpdate:
    delta = scale * torch.randn(size, generator=torch_rng(0, "update", client, round_))
    return ClientUpdate(client, examples, 1, 0.1, 0.0, delta, 1.0, math.nan, round_)


def stepped(
    strategy: Private,
    updates: Sequence[ClientUpdate],
    *,
    params: Tensor | None = None,
    server: Vectors | None = None,
    round_: int = 1,
) -> tuple[Tensor, Vectors]:
    """A round: every client's message, their means, a step."""
    params = torch.zeros(SIZE) if params is None else params
    server = strategy.server_state(params) if server is None else server
    sent = [strategy.message(one, server=server, client={}) for one in updates]
    means = means_of(sent, population=100) if sent else Means({}, {}, 0, 100)
    return strategy.step(params, replace(means, round=round_), server=server)


def without_noise(strategy: Private, updates: Sequence[ClientUpdate]) -> Tensor:
    """What a round of these moves the weights by, less that of a round to which nobody came."""
    return (
        stepped(strategy, updates)[0].double() - stepped(strategy, [])[0].double()
    ) * strategy.noise.cohort


LAWFUL = [
    "shapes and types are those of the protocol",
    "functions are pure",
    "saved state is all the state",
    "the order of clients doesn't matter",
    "weights stay finite",
]


@pytest.mark.parametrize("law", LAWFUL)
@pytest.mark.parametrize("inner", ONE_VECTOR)
@pytest.mark.parametrize("options", [{}, {"by": "adaptive"}, {"at": "clients", "least_clients": 2}])
def test_it_obeys_the_laws_of_strategies(law: str, inner: Any, options: dict[str, Any]) -> None:
    LAWS[law](lambda: private(inner(), **options))


@pytest.mark.parametrize("inner", ONE_VECTOR)
def test_strategies_of_one_vector_can_be_protected(inner: Any) -> None:
    assert problems(inner()) == []


@pytest.mark.parametrize(
    ("inner", "why"),
    [
        (scaffold(), r"clients send 2 vectors \(delta, variate\), and one is clipped; take fedavg"),
        (qfedavg(), "clients send .* no norm bounds"),
        (fednova(), "clients send .* no norm bounds"),
        (central(), "no client to protect"),
        (local(), "makes no model of what they send"),
    ],
    ids=["scaffold", "qfedavg", "fednova", "central", "local"],
)
def test_what_can_not_be_protected_is_refused_with_the_reason(inner: Strategy, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        private(inner)
    assert isinstance(caught.value, NnrayError)
    assert all(problem.path == "federated.strategy" for problem in caught.value.problems)


def test_a_strategy_that_looks_at_single_messages_is_refused() -> None:
    class Collecting(type(fedavg())):  # type: ignore[misc]
        collects = True

    assert "one by one" in problems(Collecting())[0]


@pytest.mark.parametrize("by", ["flat", "per_layer", "adaptive"])
@pytest.mark.parametrize("examples", [1, 1000])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_one_client_changes_the_sum_by_the_clip_norm_at_most(by: str, examples: int, scale: float) -> None:
    """Add or remove one among clients of 1 to 1000 examples, on the engine's own way of taking means."""
    strategy = private(by=by, norm=0.5, slots=SLOTS, multiplier=0.1, cohort=100.0)
    crowd = [update(client, examples=1 if client % 2 else 1000, scale=3.0) for client in range(6)]
    one = update(99, examples=examples, scale=scale)
    with_it, without_it = (without_noise(strategy, group) for group in ([*crowd, one], crowd))
    change = float((with_it - without_it).norm())
    assert change <= 0.5 + 1e-5
    if scale >= 1.0:
        assert change == pytest.approx(0.5, rel=1e-3)


def test_a_client_counts_the_same_whatever_it_has_and_whoever_came() -> None:
    strategy, one = private(norm=0.5), update(1, scale=0.01)
    alone = without_noise(strategy, [one])
    large = without_noise(strategy, [replace(one, num_examples=10**6)])
    beside = without_noise(strategy, [one, update(2)]) - without_noise(strategy, [update(2)])
    assert torch.equal(alone, large)
    torch.testing.assert_close(beside, alone, atol=1e-6, rtol=0)
    torch.testing.assert_close(alone, one.delta.double(), atol=1e-6, rtol=0)


def noise_std(strategy: Private, updates: Sequence[ClientUpdate] = (), *, size: int = 100_000) -> float:
    moved = stepped(strategy, updates, params=torch.zeros(size))[0]
    return float(moved.double().std())


@pytest.mark.parametrize("multiplier", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("cohort", [1.0, 12.5])
@pytest.mark.parametrize("norm", [0.1, 10.0])
def test_noise_is_as_strong_as_claimed(multiplier: float, cohort: float, norm: float) -> None:
    """Noise multiplier times clip norm over the expected cohort, within 3 standard errors."""
    size = 100_000
    found = noise_std(private(multiplier=multiplier, cohort=cohort, norm=norm))
    assert found == pytest.approx(multiplier * norm / cohort, rel=3 / math.sqrt(2 * size))


def test_noise_is_as_strong_where_norms_adapt() -> None:
    strategy = private(multiplier=2.0, cohort=100.0, norm=3.0, by="adaptive")
    expected = update_noise(2.0, bit_noise(2.0, 100.0)) * 3.0 / 100.0
    assert noise_std(strategy) == pytest.approx(expected, rel=3 / math.sqrt(200_000))


@pytest.mark.parametrize("came", [0, 1, 3, 4])
def test_noise_of_clients_and_of_the_server_is_all_that_is_claimed(came: int) -> None:
    strategy = private(multiplier=2.0, norm=0.5, at="clients", least_clients=4)
    updates = [update(client, scale=0.0, size=100_000) for client in range(came)]
    assert noise_std(strategy, updates) == pytest.approx(2.0 * 0.5 / 4.0, rel=3 / math.sqrt(200_000))


def test_more_clients_than_needed_add_more_noise_never_less() -> None:
    strategy = private(multiplier=2.0, norm=0.5, at="clients", least_clients=4)
    updates = [update(client, scale=0.0, size=100_000) for client in range(9)]
    expected = 2.0 * 0.5 / 4.0 * math.sqrt(9 / 4)
    assert noise_std(strategy, updates) == pytest.approx(expected, rel=3 / math.sqrt(200_000))


def test_each_clients_noise_is_its_own_and_the_same_again() -> None:
    strategy = private(at="clients", least_clients=1, norm=0.5)
    still = [update(client, scale=0.0) for client in (1, 2)]
    one, other, again = (
        strategy.message(u, server={}, client={}).vectors["delta"].value for u in (*still, still[0])
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    later = strategy.message(replace(still[0], round=2), server={}, client={}).vectors["delta"].value
    assert not torch.equal(one, later)


def test_rounds_have_noise_of_their_own_and_seeds_too() -> None:
    def moved(seed: int, number: int) -> Tensor:
        return stepped(private(seed=seed), [], round_=number)[0]

    assert torch.equal(moved(7, 1), moved(7, 1))
    assert not torch.equal(moved(7, 1), moved(7, 2))
    assert not torch.equal(moved(7, 1), moved(8, 1))


def test_gaps_between_parameters_stay_zero() -> None:
    for options in ({}, {"at": "clients", "least_clients": 1}):
        strategy = private(slots=SLOTS, **options)
        moved = stepped(strategy, [replace(update(1), delta=torch.zeros(SIZE))])[0]
        gaps = moved.clone()
        for slot in SLOTS:
            assert slot.of(moved).all()
            slot.of(gaps).zero_()
        assert not gaps.any()


def test_a_round_of_nobody_is_a_step_with_noise() -> None:
    strategy = private(adaptive.fedadam())
    assert traits(strategy).steps_empty
    moved, state = stepped(strategy, [])
    assert moved.all()
    assert state.keys() == strategy.server_state(torch.zeros(SIZE)).keys()


class Nosy:
    """FedAvg that tells what it is given."""

    needs_start_loss = has_client_state = False
    shared: tuple[str, ...] = ("mine",)

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def server_state(self, params: Tensor) -> Vectors:
        return {"mine": torch.zeros(1)}

    def pull(self, server: Vectors, client: Vectors) -> Any:
        self.seen.append((set(server), set(client)))

    def message(self, one: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        self.seen.append((set(server), set(client)))
        return Message({"sent": Weighted(one.delta, 7.0)}, num_bytes=11)

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        self.seen.append((set(server), means))
        return params, {"mine": torch.ones(1)}


def test_the_strategy_inside_sees_its_own_state_and_nothing_that_is_private() -> None:
    inner = Nosy()
    strategy = private(inner, by="adaptive", cohort=4.6)
    inner.seen.clear()
    server = strategy.server_state(torch.zeros(SIZE))
    assert set(server) == {"mine", "privacy/norm"}
    assert traits(strategy).shared == ("mine", "privacy/norm")
    strategy.pull(server, {"privacy/times": torch.zeros(())})
    message = strategy.message(update(1), server=server, client={})
    assert message.num_bytes == 11
    assert message.vectors["sent"].weight == 1.0
    means = replace(means_of([message], population=50, collects=True), clients=(1,), round=3)
    after = strategy.step(torch.zeros(SIZE), means, server=server)[1]
    assert set(after) == {"mine", "privacy/norm"}
    assert inner.seen[:2] == [({"mine"}, set()), ({"mine"}, set())]
    names, seen = inner.seen[2]
    assert names == {"mine"}
    assert (seen.numbers, seen.messages, seen.clients) == ({}, (), ())
    # As many as are expected: how many came is not protected.
    assert (seen.num_clients, seen.population, seen.round) == (5, 50, 3)


def test_the_norm_follows_the_clients() -> None:
    """With next to no noise, half of the clients are below it in the end."""
    strategy = private(by="adaptive", norm=100.0, multiplier=1e-6, cohort=20.0)
    server = strategy.server_state(torch.zeros(SIZE))
    updates = [update(client, scale=0.1 * 1.3**client) for client in range(20)]
    for number in range(1, 151):
        now = [replace(one, round=number) for one in updates]
        server = stepped(strategy, now, server=server, round_=number)[1]
    below = sum(float(one.delta.norm()) <= float(server["privacy/norm"]) for one in updates)
    assert 7 <= below <= 13


def test_one_client_changes_the_count_below_the_norm_by_a_half() -> None:
    strategy = private(by="adaptive", norm=1.0)
    server = strategy.server_state(torch.zeros(SIZE))
    sent = [strategy.message(update(1, scale=s), server=server, client={}) for s in (1e-6, 1e6)]
    assert [message.numbers[BELOW].value for message in sent] == [0.5, -0.5]


def test_the_count_below_the_norm_has_its_noise() -> None:
    """Of the logarithm of the next norm: lr times the noise on the bits over the cohort."""
    strategy = private(by="adaptive", norm=1.0, multiplier=1.0, cohort=50.0)
    server = strategy.server_state(torch.zeros(SIZE))
    steps = torch.tensor(
        [
            math.log(float(stepped(strategy, [], server=server, round_=number)[1]["privacy/norm"]))
            for number in range(1, 1001)
        ]
    )
    expected = 0.2 * bit_noise(1.0, 50.0) / 50.0
    assert float(steps.std()) == pytest.approx(expected, rel=3 / math.sqrt(2000))
    assert float(steps.mean()) == pytest.approx(0.0, abs=3 * expected / math.sqrt(1000))


def test_what_the_accountant_is_told_is_what_is_done() -> None:
    assert private(multiplier=1.3, by="adaptive").phase(rate=0.1) == Phase(1.3, 0.1)
    trees = Trees(8, 2)
    assert private(multiplier=1.3, trees=trees).phase(rate=0.1) == Phase(1.3, 1.0, trees=trees)


def test_along_trees_the_sum_has_the_noise_of_few_nodes() -> None:
    """The weights are a sum over rounds: after 7 rounds they have the noise of 3 nodes, after 8 of 1."""
    size, strategy = 50_000, private(trees=Trees(100), multiplier=2.0, cohort=1.0)
    params, stds = torch.zeros(size), []
    for number in range(1, 9):
        params = stepped(strategy, [], params=params, round_=number)[0]
        stds.append(float(params.double().std()))
    nodes = [1, 1, 2, 1, 2, 2, 3, 1]
    assert stds == pytest.approx([2.0 * math.sqrt(n) for n in nodes], rel=3 / math.sqrt(2 * size))


def test_along_trees_a_client_counts_no_more_often_than_accounted() -> None:
    strategy = private(trees=Trees(restart_every=4, max_participations=2))
    assert strategy.has_client_state
    kept: Vectors = {}
    counted = []
    for number in range(1, 10):
        message = strategy.message(update(1, round_=number), server={}, client=kept)
        kept = message.kept
        counted.append(bool(message.vectors["delta"].value.any()))
    assert counted == [True, True, False, False, True, True, False, False, True]


def test_per_layer_needs_the_layers() -> None:
    with pytest.raises(AssertionError, match="the layers"):
        private(by="per_layer")
