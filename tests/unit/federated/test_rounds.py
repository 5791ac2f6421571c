"""The loop over rounds: centralised SGD where they agree, clients that fail, and going on where it stood."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nnray.errors import ClientFailure, DivergedError, UserCodeError
from nnray.federated.outcome import Failed, Outcome, RoundStart
from nnray.federated.rounds import Policy, RoundReport, RoundState, rounds
from nnray.federated.sampling import Cohort
from nnray.federated.strategy import ClientUpdate, Means, Pull, Vectors
from nnray.federated.weights import FlatModel
from tests.unit.federated.small import Mean, examples, loss_fn, model, sgd, trainer


def cohort(*chosen: int, spares: Sequence[int] = ()) -> Cohort:
    return Cohort(np.array(chosen, dtype=np.int64), np.array(spares, dtype=np.int64))


EVERYBODY = cohort(0, 1, 2, 3, 4, 5)


def begin(*, norm: bool = False) -> RoundState:
    return RoundState(0, FlatModel(model(norm=norm)).weights(), {})


class Local:
    """Trains clients in this process, cut as told, and fails those that are named."""

    def __init__(
        self, strategy: Mean | None = None, *, workers: int = 1, norm: bool = False, **changes: Any
    ) -> None:
        self.strategy, self.states = strategy or Mean(), dict[int, Vectors]()
        changes |= {"batch_size": 3} if norm else {}  # batch norm needs two examples in every batch
        self._trainers = [
            trainer(model(7, norm=norm), self.strategy, **changes) for _ in range(max(1, workers))
        ]
        self.calls: list[tuple[int, ...]] = []
        self.fails: Callable[[int, int], bool] = lambda client, call: False

    def __call__(self, start: RoundStart, clients: Sequence[int]) -> Outcome:
        self.calls.append(tuple(clients))
        lost = [client for client in clients if self.fails(client, len(self.calls))]
        outcome = Outcome(failures=tuple(Failed(client, "gone") for client in lost))
        left = [client for client in clients if client not in lost]
        for place, trains in enumerate(self._trainers):
            own = left[place :: len(self._trainers)]
            outcome = trains.run(start, own, states=self.states) + outcome
        self.states |= outcome.kept
        return outcome


def run(
    train: Local, *, num: int = 3, state: RoundState | None = None, takes: Cohort = EVERYBODY, **options: Any
) -> Iterator[RoundReport]:
    return rounds(
        state or begin(),
        train.strategy,
        num_rounds=num,
        draw=lambda number: takes,
        train_clients=train,
        population=6,
        **options,
    )


def last(reports: Iterator[RoundReport]) -> RoundReport:
    *_, report = reports
    return report


def bits_of(report: RoundReport) -> tuple[Any, ...]:
    weights = report.state.weights
    return weights.params.tolist(), weights.floats.tolist(), weights.ints.tolist()


def test_all_clients_with_all_examples_are_centralised_sgd() -> None:
    """Source: McMahan et al. 2017, section 2: FedSGD."""
    found = last(run(Local(batch_size=None), num=5)).state.weights.params
    module, data = model(), examples()
    optimizer = sgd(list(module.parameters()))
    for _ in range(5):
        optimizer.zero_grad()
        torch.autograd.backward(loss_fn(module, data.inputs, data.targets)[1])
        optimizer.step()
    torch.testing.assert_close(found, FlatModel(module).params, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("norm", [False, True])
def test_the_bits_are_the_same_for_any_number_of_workers(norm: bool) -> None:
    found = [bits_of(last(run(Local(workers=n, norm=norm), state=begin(norm=norm)))) for n in (1, 2, 3, 6)]
    assert found.count(found[0]) == 4


def test_rounds_go_on_where_they_stood() -> None:
    reports = list(run(Local(), num=5))
    again = list(run(Local(), num=5, state=reports[1].state))
    assert [report.state.round for report in again] == [3, 4, 5]
    assert bits_of(again[-1]) == bits_of(reports[-1])
    assert list(run(Local(), num=5, state=reports[-1].state)) == []


def test_a_round_of_nobody_changes_nothing() -> None:
    report = last(run(Local(), num=1, takes=cohort()))
    assert (report.state.round, report.reports) == (1, ())
    assert torch.equal(report.state.weights.params, begin().weights.params)


def test_clients_are_told_by_number_and_bytes_are_counted() -> None:
    report = last(run(Local(workers=3), num=1, takes=cohort(1, 4, 5)))
    assert [client.client for client in report.reports] == [1, 4, 5]
    size = len(begin().weights.params) * 4
    assert report.bytes_down == 3 * size
    assert report.bytes_up == 3 * (size + 8)


def test_the_rate_may_follow_the_round() -> None:
    """A rate of zero from the second round on: nothing changes any more."""
    first, second = run(Local(), num=2, lr_of=lambda number: 0.1 if number == 1 else 0.0)
    assert torch.equal(first.state.weights.params, second.state.weights.params)


def test_a_client_that_fails_once_is_trained_again() -> None:
    train = Local()
    train.fails = lambda client, call: client == 3 and call == 1
    report = last(run(train, num=1))
    assert train.calls == [(0, 1, 2, 3, 4, 5), (3,)]
    assert [(f.failed.client, f.fate) for f in report.faults] == [(3, "retried")]
    assert bits_of(report) == bits_of(last(run(Local(), num=1)))


@pytest.mark.parametrize("on_error", ["retry", "fail"])
def test_a_client_that_keeps_failing_ends_the_run_by_name(on_error: Any) -> None:
    train = Local()
    train.fails = lambda client, call: client == 3
    with pytest.raises(ClientFailure, match=r"(?s)round 1: .*client 3: gone") as caught:
        last(run(train, policy=Policy(on_error)))
    assert "on_client_error" in str(caught.value)
    assert len(train.calls) == (2 if on_error == "retry" else 1)


def test_dropped_clients_are_left_out_of_the_mean() -> None:
    train = Local()
    train.fails = lambda client, call: client in (0, 3)
    report = last(run(train, num=1, policy=Policy("drop")))
    assert [(f.failed.client, f.fate) for f in report.faults] == [(0, "dropped"), (3, "dropped")]
    rest = last(run(Local(), num=1, takes=cohort(1, 2, 4, 5)))
    assert bits_of(report) == bits_of(rest)


@pytest.mark.parametrize("on_error", ["drop", "retry"])
def test_spares_take_the_place_of_those_that_fail(on_error: Any) -> None:
    train = Local()
    train.fails = lambda client, call: client == 1
    report = last(run(train, num=1, takes=cohort(1, 2, spares=(5, 0)), policy=Policy(on_error)))
    assert [client.client for client in report.reports] == [2, 5]
    assert report.faults[-1].fate == "replaced"
    assert bits_of(report) == bits_of(last(run(Local(), num=1, takes=cohort(2, 5))))


def test_a_spare_may_fail_too() -> None:
    train = Local()
    train.fails = lambda client, call: client in (1, 5)
    report = last(run(train, num=1, takes=cohort(1, 2, spares=(5, 0)), policy=Policy("drop")))
    assert [client.client for client in report.reports] == [0, 2]
    assert [(f.failed.client, f.fate) for f in report.faults] == [(1, "replaced"), (5, "replaced")]


def test_too_few_updates_end_the_run() -> None:
    train = Local()
    train.fails = lambda client, call: client != 2
    with pytest.raises(ClientFailure, match=r"1 of 6 clients came to an update.*min_updates is 2"):
        last(run(train, policy=Policy("drop", min_updates=2)))
    train = Local()
    train.fails = lambda client, call: client != 2
    assert len(last(run(train, num=1, policy=Policy("drop", min_updates=1))).reports) == 1


def test_clients_that_fail_alike_are_named_in_one_line() -> None:
    train = Local()
    train.fails = lambda client, call: client != 2 and (client != 4 or call == 1)
    with pytest.raises(ClientFailure) as caught:
        last(run(train))
    assert str(caught.value).splitlines()[1:] == [
        "  clients 0, 1, 3, 5: gone (retried, given up)",
        "  client 4: gone (retried)",
    ]


def test_what_clients_keep_is_handed_on() -> None:
    train = Local(Mean(has_client_state=True))
    *_, report = run(train, num=3)
    assert {client: float(kept["seen"]) for client, kept in report.kept.items()} == dict.fromkeys(range(6), 3)


def tiny(update: ClientUpdate) -> Tensor:
    return update.delta * 1e-9


def huge(update: ClientUpdate) -> Tensor:
    return update.delta * 1e7


def test_clients_that_fail_where_sums_are_done_again_are_counted_out() -> None:
    """Those that fail only the second time are as gone as those that fail at once."""
    train, policy = Local(Mean(vectors=huge)), Policy("drop", min_updates=4)
    train.fails = lambda client, call: call == 2 and client in (1, 2)
    report = last(run(train, num=1, policy=policy))
    assert train.calls == [(0, 1, 2, 3, 4, 5)] * 2
    assert [client.client for client in report.reports] == [0, 3, 4, 5]
    assert [(f.failed.client, f.fate) for f in report.faults] == [(1, "dropped"), (2, "dropped")]
    train = Local(Mean(vectors=huge))
    train.fails = lambda client, call: call == 2 and client in (1, 2, 3)
    with pytest.raises(ClientFailure, match=r"3 of 6 clients came to an update.*min_updates is 4"):
        last(run(train, num=1, policy=policy))


def test_those_dropped_where_sums_are_done_again_are_left_out_of_the_mean() -> None:
    train = Local(Mean(vectors=huge))
    train.fails = lambda client, call: call == 2 and client == 3
    report = last(run(train, num=1, policy=Policy("drop")))
    rest = last(run(Local(Mean(vectors=huge)), num=1, takes=cohort(0, 1, 2, 4, 5)))
    assert bits_of(report) == bits_of(rest)


@pytest.mark.parametrize("scaled", [tiny, huge])
def test_sums_adapt_to_how_large_updates_are(scaled: Callable[[ClientUpdate], Tensor]) -> None:
    """The first round is summed again with other bits; the next ones know them. Each is exact to 1e-6."""
    strategy = Mean(vectors=scaled)
    weights = FlatModel(model()).weights()
    for workers in (1, 3):
        train = Local(strategy, workers=workers)
        state = RoundState(0, weights, {})
        again = [report.summed_again for report in run(train, num=2, state=state)]
        assert again[0] == 1
        assert train.calls[1] == (0, 1, 2, 3, 4, 5)
    trains = trainer(strategy=strategy)
    start = RoundStart(round=1, weights=weights, room=6)
    updates = [trains.train(start, client, state={}) for client in range(6)]
    total = sum(update.num_examples for update in updates)
    mean = sum(scaled(u).double() * u.num_examples for u in updates) / total
    first = next(run(Local(strategy), num=1, state=state)).state.weights.params
    expected = (weights.params + torch.as_tensor(mean)).float()
    assert float((first - expected).norm()) <= 1e-6 * float(expected.norm())


def test_weights_that_are_not_finite_end_the_run() -> None:
    class Bad(Mean):
        def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
            return params * torch.nan, {}

    with pytest.raises(DivergedError, match="weights is not finite in round 1: lower"):
        last(run(Local(Bad()), num=1))


@pytest.mark.parametrize("returned", [torch.zeros(1), torch.zeros(()), None])
def test_weights_of_another_shape_are_never_broadcast(returned: Any) -> None:
    class Bad(Mean):
        def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
            return returned, {}

    with pytest.raises(UserCodeError, match="must return weights of shape"):
        last(run(Local(Bad()), num=1))


def test_a_strategy_that_says_so_shares_all_that_the_server_keeps() -> None:
    class Open(Mean):
        shared = None

        def server_state(self, params: Tensor) -> Vectors:
            return {"rate": torch.ones(())}

    strategy, train = Open(), Local()
    starts: list[RoundStart] = []

    def watched(start: RoundStart, clients: Sequence[int]) -> Outcome:
        starts.append(start)
        return train(start, clients)

    state = replace(begin(), server=strategy.server_state(torch.zeros(1)))
    next(
        rounds(
            state, strategy, num_rounds=1, draw=lambda number: EVERYBODY, train_clients=watched, population=6
        )
    )
    assert set(starts[0].server) == {"rate"}


def test_a_strategy_may_see_every_message() -> None:
    class Median(Mean):
        """The coordinate-wise median: no mean knows it."""

        def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
            sent = torch.stack([message.vectors["delta"].value for message in means.messages])
            return params + sent.median(0).values, {}

    found = [bits_of(last(run(Local(Median(collects=True), workers=n), num=2))) for n in (1, 2, 4)]
    assert found[0] == found[1] == found[2]
    assert found[0] != bits_of(last(run(Local(), num=2)))


def test_clients_get_what_the_server_shares() -> None:
    class Drifting(Mean):
        shared = ("drift",)

        def server_state(self, params: Tensor) -> Vectors:
            return {"drift": torch.ones_like(params), "own": torch.zeros_like(params)}

        def pull(self, server: Vectors, client: Vectors) -> Pull:
            assert set(server) == {"drift"}
            return Pull(drift=server["drift"])

        def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
            assert set(server) == {"drift", "own"}
            return (params + means.vectors["delta"]).float(), server

    strategy = Drifting()
    state = replace(begin(), server=strategy.server_state(begin().weights.params))
    report = last(run(Local(strategy), num=1, state=state))
    assert report.bytes_down == 6 * 2 * len(state.weights.params) * 4
    assert bits_of(report) != bits_of(last(run(Local(), num=1)))


def test_a_state_is_never_changed_in_place() -> None:
    state = begin(norm=True)
    before = copy.deepcopy(state)
    reports = list(run(Local(norm=True), num=2, state=state))
    kept = copy.deepcopy(reports[0].state)
    assert bits_of(replace(reports[0], state=state)) == bits_of(replace(reports[0], state=before))
    assert bits_of(replace(reports[0], state=kept)) == bits_of(reports[0])
