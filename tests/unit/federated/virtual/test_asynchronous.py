"""Rounds without a cohort: FedAvg where nothing is stale, one log for any workers, exact resume."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nnray.errors import ConfigError
from nnray.federated.around import own_part
from nnray.federated.rounds import rounds
from nnray.federated.sampling import uniform as uniform_cohort
from nnray.federated.strategies.baselines import central, local
from nnray.federated.strategies.fedasync import fedasync
from nnray.federated.strategies.fedavg import fedavg
from nnray.federated.strategies.fedavgm import fedavgm
from nnray.federated.strategies.fedbuff import fedbuff
from nnray.federated.strategies.scaffold import scaffold
from nnray.federated.strategy import ClientUpdate, Means, Message, Strategy, Vectors
from nnray.federated.virtual.report import TimedReport, log_of
from nnray.federated.virtual.windows import MICRO, daily
from nnray.seeding import numpy_rng
from tests.unit.federated.small import Mean
from tests.unit.federated.virtual.play import (
    POPULATION,
    Local,
    asynchronous,
    begin,
    bits_of,
    same,
    steps,
    through_a_file,
    unequal,
)

SLOW = (1.0, 2.0, 3.0, 5.0, 8.0, 13.0)


def fedavg_run(strategy: Strategy, *, cohort: int, norm: bool = False) -> list[Any]:
    """Plain rounds, whose cohorts are drawn as those of a run."""
    train = Local(strategy, norm=norm)
    found = []
    for report in rounds(
        begin(strategy, norm=norm),
        strategy,
        num_rounds=4,
        draw=lambda n: uniform_cohort(POPULATION, numpy_rng(5, "cohort", n), cohort=cohort),
        train_clients=train,
        population=POPULATION,
    ):
        train.states |= report.kept
        found.append((bits_of(report), [client.client for client in report.reports]))
    return found


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("cohort", [1, 3, 6])
def test_with_equal_devices_and_a_buffer_of_all_at_work_it_is_fedavg_to_the_last_bit(
    cohort: int, norm: bool
) -> None:
    reports = asynchronous(Local(fedbuff(), norm=norm), devices=same(), buffer=cohort, concurrency=cohort)
    found = [(bits_of(report), [client.client for client in report.reports]) for report in reports]
    assert found == fedavg_run(fedavg(weighting="uniform"), cohort=cohort, norm=norm)
    assert [report.staleness for report in reports] == [(0,) * cohort] * 4


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (fedbuff(weighting="examples"), fedavg()),
        (fedbuff(momentum=0.5, lr=0.3), fedavgm(momentum=0.5, lr=0.3, weighting="uniform")),
        (fedasync(alpha=1.0, mu=0.0), fedavg(weighting="uniform")),
        (scaffold(), scaffold()),
    ],
)
def test_so_it_is_with_other_strategies(one: Strategy, other: Strategy) -> None:
    reports = asynchronous(Local(one), devices=same(), buffer=3, concurrency=3)
    assert [bits_of(report) for report in reports] == [bits for bits, _ in fedavg_run(other, cohort=3)]


@pytest.mark.parametrize("strategy", [fedbuff(momentum=0.5), fedasync(), fedavg(), scaffold()])
@pytest.mark.parametrize("hours", [False, True])
def test_log_and_bits_are_the_same_for_any_number_of_workers(strategy: Strategy, hours: bool) -> None:
    windows = daily(6, np.random.default_rng(0), share=0.6, period_s=40.0) if hours else None
    devices = unequal(*SLOW, dropout=0.2, windows=windows)
    found = [asynchronous(Local(strategy, workers=n), num=8, devices=devices) for n in (1, 2, 3)]
    assert len({log_of(reports) for reports in found}) == 1
    assert [bits_of(reports[-1]) for reports in found].count(bits_of(found[0][-1])) == 3


def test_the_log_does_not_depend_on_what_training_comes_to() -> None:
    calm, wild = (asynchronous(Local(fedbuff(), l1=l1), num=8) for l1 in (0.0, 10.0))
    assert log_of(calm) == log_of(wild)
    assert bits_of(calm[-1]) != bits_of(wild[-1])
    assert log_of(calm) != log_of(asynchronous(num=8, seed=6))


@pytest.mark.parametrize("strategy", [fedbuff(momentum=0.5), fedasync(), fedavg(), scaffold()])
@pytest.mark.parametrize("norm", [False, True])
def test_from_any_checkpoint_it_goes_on_as_if_nothing_had_been(strategy: Strategy, norm: bool) -> None:
    windows = daily(6, np.random.default_rng(1), share=0.5, period_s=30.0)
    options: dict[str, Any] = {"num": 7, "devices": unequal(*SLOW, dropout=0.3, windows=windows)}
    train, kept, whole = Local(strategy, norm=norm), [], []
    for report in steps(train, **options):
        whole.append(report)
        kept.append(dict(train.states))
    for done in range(7):
        resumed = Local(strategy, norm=norm)
        resumed.states = kept[done]
        rest = asynchronous(resumed, state=through_a_file(whole[done].state), **options)
        assert log_of(rest) == log_of(whole[done + 1 :])
        assert [bits_of(report) for report in rest] == [bits_of(report) for report in whole[done + 1 :]]
        for ours, theirs in zip(rest, whole[done + 1 :], strict=True):
            assert ours.state.server.keys() == theirs.state.server.keys()
            assert all(
                torch.equal(ours.state.server[key], theirs.state.server[key]) for key in ours.state.server
            )


def at_work(reports: list[TimedReport]) -> list[int]:
    """How many are at work after each moment."""
    counts, open_, moments = [], 0, log_of(reports)
    for place, event in enumerate(moments):
        open_ += {"begins": 1, "comes": -1, "drops out": -1, "leaves": -1}.get(event.kind, 0)
        if place + 1 < len(moments) and moments[place + 1].time > event.time:
            counts.append(open_)
    return counts


def test_as_many_are_at_work_as_there_are_places() -> None:
    assert set(at_work(asynchronous(num=20, devices=unequal(*SLOW, dropout=0.2)))) == {3}


def test_events_tell_what_the_devices_say() -> None:
    """By hand: client i takes SLOW[i] seconds; who comes is followed at once; two updates are a step."""
    reports = asynchronous(num=30)
    began: dict[int, int] = {}
    for event in log_of(reports):
        if event.kind == "begins":
            assert event.client not in began
            began[event.client] = event.time
        elif event.kind == "comes":
            assert event.time - began.pop(event.client) == SLOW[event.client] * MICRO
    times = [event.time for event in log_of(reports)]
    assert times == sorted(times)
    for report in reports:
        kinds = Counter(event.kind for event in report.events)
        assert (kinds["comes"], kinds["steps"], report.events[-1].kind) == (2, 1, "steps")
        assert [client.client for client in report.reports] == sorted(
            event.client for event in report.events if event.kind == "comes"
        )


def test_staleness_is_the_steps_since_a_client_began() -> None:
    reports = asynchronous(num=30)
    versions: dict[int, int] = {}
    for report in reports:
        for event in report.events:
            if event.kind == "begins":
                versions[event.client] = event.version
                assert event.version in (report.state.round - 1, report.state.round)
        expected = tuple(report.state.round - 1 - versions[client.client] for client in report.reports)
        assert report.staleness == expected
        assert report.metrics()["staleness_max"] == max(expected)
    assert max(max(report.staleness) for report in reports) >= 3


def test_time_adds_up() -> None:
    reports = asynchronous(num=10)
    assert reports[-1].virtual_time == pytest.approx(sum(report.virtual_seconds for report in reports))
    assert [report.virtual_time * MICRO for report in reports] == [r.events[-1].time for r in reports]


def test_clients_train_from_the_weights_they_were_sent_and_know_their_age() -> None:
    train = Local(fedbuff())
    reports = asynchronous(train, num=12)
    sent = {0: begin(train.strategy).weights.params} | {
        r.state.round: r.state.weights.params for r in reports
    }
    ages = []
    for start in train.starts:
        assert torch.equal(start.weights.params, sent[start.round - 1])
        ages.append(float(start.server["staleness"]))
    told = sorted(age for report in reports for age in set(report.staleness))
    assert sorted(ages) == told


def test_those_that_began_together_are_trained_in_one_call() -> None:
    train = Local(fedbuff())
    reports = asynchronous(train, devices=unequal(1, 1, 1, 1, 1, 7), buffer=3, concurrency=4, num=10)
    calls = sum(len(set(report.staleness)) for report in reports)
    assert len(train.calls) == calls < 3 * 10


def test_the_rate_is_that_of_the_round_in_which_a_client_began() -> None:
    train = Local(fedbuff())
    asynchronous(train, num=10, lr_of=lambda number: 1.0 / number)
    assert [start.lr for start in train.starts] == [1.0 / start.round for start in train.starts]


def test_in_flight_are_at_most_as_many_versions_as_clients() -> None:
    for report in asynchronous(num=20):
        own = own_part(report.state.server, "virtual")
        versions = {name.partition("/")[0] for name in own if name.startswith("version.")}
        assert len(own["tasks"]) <= 3
        assert len(versions) <= len(own["tasks"])
        assert f"version.{report.state.round}" not in versions


@dataclass(frozen=True)
class Jumping(Mean):
    """A mean of changes that are very small before the fifth round and very large from it on."""

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        scale = 1e-9 if update.round < 5 else 1e9
        return super().message(replace(update, delta=scale * update.delta), server=server, client=client)

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        return (params + means.vectors["delta"].sign() / 100).to(torch.float32), {}


def test_sums_that_need_other_bits_are_done_again_from_the_same_weights() -> None:
    train = Local(Jumping())
    reports = asynchronous(train, num=12)
    again = [report for report in reports if report.summed_again]
    assert any(report.state.round > 1 and len(set(report.staleness)) > 1 for report in again)
    assert len(train.starts) == sum(len(set(r.staleness)) * (1 + r.summed_again) for r in reports)
    other = asynchronous(Local(Jumping(), workers=3), num=12)
    assert [bits_of(report) for report in other] == [bits_of(report) for report in reports]


@pytest.mark.parametrize(("key", "value"), [("buffer", 0), ("buffer", 7), ("concurrency", 7)])
def test_too_few_clients_are_refused(key: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"asynchronous\.{key}: must be from 1 to .* 6 \(got {value}\)"):
        asynchronous(**{key: value})


@pytest.mark.parametrize("strategy", [central(), local()])
def test_strategies_without_weights_for_all_are_refused(strategy: Strategy) -> None:
    with pytest.raises(ConfigError, match="take fedbuff or fedasync"):
        asynchronous(Local(strategy))


def test_a_state_that_is_finished_gives_no_step() -> None:
    done = asynchronous(num=2)[-1].state
    assert asynchronous(num=2, state=done) == []
    assert asynchronous(num=2, state=replace(done, round=2)) == []


def test_a_million_clients_are_drawn_without_looking_at_each() -> None:
    """Of places and candidates alone: an array of a million would take 8 MB."""
    import tracemalloc

    from nnray.federated.virtual.clock import Clock
    from nnray.federated.virtual.part import Part

    devices = unequal(*[1.0])
    wide = replace(devices, **{n: np.broadcast_to(getattr(devices, n), 1_000_000) for n in
                               ("step_s", "down", "up", "dropout")})  # fmt: skip
    part = Part(num_steps=lambda client: 1 + client % 7, bytes_down=0, bytes_up=0)
    clock, log = Clock(wide, part, concurrency=100, seed=0), list[Any]()
    tracemalloc.start()
    try:
        for step in range(300):
            clock.next_task(step, waiting=(), log=log)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000, peak
