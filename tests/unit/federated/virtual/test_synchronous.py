"""Rounds in virtual time: those of the plain loop, less who is late, as long as the last that is needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nnray.errors import ClientFailure
from nnray.federated.rounds import Policy, rounds
from nnray.federated.sampling import Cohort
from nnray.federated.strategies.fedavg import fedavg
from nnray.federated.strategies.scaffold import scaffold
from nnray.federated.virtual.part import part_of
from nnray.federated.virtual.report import TimedReport, log_of
from nnray.federated.virtual.windows import MICRO, windows
from tests.unit.federated.virtual.play import (
    Local,
    begin,
    bits_of,
    cohort,
    same,
    synchronous,
    through_a_file,
    unequal,
)

EVERYBODY = cohort(0, 1, 2, 3, 4, 5)
SLOW = (1.0, 2.0, 3.0, 5.0, 8.0, 13.0)


def run(takes: Cohort = EVERYBODY, *, step_s: tuple[float, ...] = SLOW, **options: Any) -> list[TimedReport]:
    return synchronous(Local(fedavg()), takes=takes, devices=unequal(*step_s), **options)


def plain(takes: Cohort, *, num: int = 3) -> list[Any]:
    train = Local(fedavg())
    reports = rounds(
        begin(train.strategy),
        train.strategy,
        num_rounds=num,
        draw=lambda number: takes,
        train_clients=train,
        population=6,
    )
    return [bits_of(report) for report in reports]


def lost(report: TimedReport) -> dict[int, str]:
    return {fault.failed.client: fault.failed.error for fault in report.faults}


@pytest.mark.parametrize("takes", [EVERYBODY, cohort(1, 3), cohort(0, 2, spares=(4, 5))])
def test_with_equal_devices_rounds_are_those_of_the_plain_loop(takes: Cohort) -> None:
    reports = synchronous(Local(fedavg()), takes=takes, devices=same())
    assert [bits_of(report) for report in reports] == plain(takes)
    assert [report.cohort for report in reports] == [takes] * 3
    assert all(report.faults == () for report in reports)


def test_a_round_lasts_as_long_as_its_slowest_client() -> None:
    reports = run()
    assert [report.virtual_seconds for report in reports] == [13.0] * 3
    assert [report.virtual_time for report in reports] == [13.0, 26.0, 39.0]
    assert reports[-1].metrics() == {"virtual_seconds": 13.0, "virtual_time": 39.0}
    assert [report.virtual_seconds for report in run(cohort(0, 2))] == [3.0] * 3


def test_time_is_of_steps_and_of_bytes_both_ways() -> None:
    """By hand: the weights down, the steps, and a message as large as them up, plus what is around it."""
    devices = same()
    train = Local(fedavg())
    state = begin(train.strategy)
    (report,) = synchronous(train, takes=cohort(1), devices=devices, num=1, num_steps=lambda client: 7)
    size = state.weights.params.nbytes
    expected = 7 * devices.step_s[1] + size / devices.down[1] + size / devices.up[1]
    assert report.virtual_seconds == round(expected * MICRO) / MICRO


def test_messages_are_as_large_as_the_strategy_makes_them() -> None:
    for norm in (False, True):
        one, two = (
            part_of(begin(s, norm=norm), s, num_steps=lambda client: 1, seed=0)
            for s in (fedavg(), scaffold())
        )
        weights = begin(fedavg(), norm=norm).weights
        vector, buffers = weights.params.nbytes, weights.floats.nbytes + weights.ints.nbytes
        assert (one.bytes_down, one.bytes_up) == (vector + buffers, vector + buffers)
        assert (two.bytes_down, two.bytes_up) == (2 * vector + buffers, 2 * vector + buffers)


def test_who_comes_after_the_deadline_is_named_and_left_out() -> None:
    reports = run(deadline_s=5.0)
    assert [bits_of(report) for report in reports] == plain(cohort(0, 1, 2, 3))
    for report in reports:
        assert report.virtual_seconds == 5.0
        assert report.cohort == EVERYBODY
        assert [fault.fate for fault in report.faults] == ["dropped", "dropped"]
        told = "came after the deadline, 5.000 virtual seconds after it began"
        assert lost(report) == dict.fromkeys((4, 5), told)


def test_late_clients_are_not_trained_at_all() -> None:
    train = Local(fedavg())
    synchronous(train, takes=EVERYBODY, devices=unequal(*SLOW), deadline_s=5.0)
    assert train.calls == [(number, (0, 1, 2, 3)) for number in (1, 2, 3)]


def test_of_more_than_are_needed_the_first_to_come_are_taken() -> None:
    takes = cohort(2, 4, 5, spares=(0, 3))
    reports = run(takes)
    assert [bits_of(report) for report in reports] == plain(cohort(0, 2, 3))
    assert [report.virtual_seconds for report in reports] == [5.0] * 3
    assert all(report.faults == () and report.cohort == takes for report in reports)


def test_enough_before_the_deadline_end_the_round_before_it() -> None:
    reports = run(cohort(2, 4, spares=(0, 5)), deadline_s=4.0)
    assert [(report.virtual_seconds, lost(report)) for report in reports] == [(3.0, {})] * 3


def test_whom_training_fails_another_that_came_takes_the_place_of() -> None:
    """Clients 1 and 4 come at the same moment: the chosen counts, and the spare is there."""
    train = Local(fedavg())
    train.fails = lambda client, call: client == 1
    devices = unequal(1, 2, 3, 5, 2, 13)
    (report,) = synchronous(train, takes=cohort(0, 1, spares=(4, 5)), devices=devices, num=1)
    assert [client.client for client in report.reports] == [0, 4]
    assert [fault.fate for fault in report.faults] == ["retried", "replaced"]


def test_clients_that_drop_out_are_named_and_the_round_goes_on() -> None:
    reports = synchronous(
        Local(fedavg()), takes=EVERYBODY, devices=unequal(*SLOW, dropout=0.4), num=40, seed=3
    )
    counts = [len(lost(report)) for report in reports]
    assert [6 - len(report.reports) for report in reports] == counts
    assert all("dropped out, " in error for report in reports for error in lost(report).values())
    # 240 tosses, within five standard deviations.
    assert abs(sum(counts) - 96) < 5 * np.sqrt(240 * 0.4 * 0.6)
    assert max(report.virtual_seconds for report in reports) == 13.0
    assert min(report.virtual_seconds for report in reports) < 13.0


def test_too_few_that_come_end_the_run_by_name() -> None:
    with pytest.raises(
        ClientFailure, match=r"(?s)round 1: 4 of 6 clients came .* is 5: raise .*client 4: came"
    ):
        run(deadline_s=5.0, policy=Policy(min_updates=5))
    with pytest.raises(ClientFailure, match="round 1: 0 of 6 clients"):
        run(deadline_s=0.5)


def test_a_round_of_nobody_takes_no_time() -> None:
    (report,) = run(cohort(), num=1)
    assert (report.virtual_seconds, report.reports) == (0.0, ())


def test_clients_begin_when_they_are_there_and_may_leave() -> None:
    """By hand: of 20 s, client 0 is there from 4 to 12, client 1 from 0 to 2 and from 18 on."""
    hours = windows(
        [[(4 * MICRO, 12 * MICRO)], [(0, 2 * MICRO), (18 * MICRO, 20 * MICRO)]],
        period=20 * MICRO,
        routine=np.array([0, 1]),
        phase=np.zeros(2, dtype=np.int64),
    )
    train = Local(fedavg())
    devices = unequal(5, 3, windows=hours)
    reports = synchronous(train, takes=cohort(0, 1), devices=devices, num=2)
    log = [(event.time // MICRO, event.kind, event.client) for event in log_of(reports)]
    assert log == [
        (0, "begins", 1),
        (2, "leaves", 1),
        (4, "begins", 0),
        (9, "comes", 0),
        (9, "steps", -1),
        (9, "begins", 0),
        (12, "leaves", 0),
        (18, "begins", 1),
        (21, "comes", 1),
        (21, "steps", -1),
    ]
    assert [list(lost(report)) for report in reports] == [[1], [0]]
    assert "was no longer there, 2.000 virtual" in lost(reports[0])[1]


@pytest.mark.parametrize("done", [1, 2, 3])
def test_it_goes_on_from_a_checkpoint_as_if_nothing_had_been(done: int) -> None:
    devices = unequal(*SLOW, dropout=0.3)
    options: dict[str, Any] = {"takes": EVERYBODY, "devices": devices, "num": 5, "deadline_s": 9.0}
    whole = synchronous(Local(fedavg()), **options)
    rest = synchronous(Local(fedavg()), **options, state=through_a_file(whole[done - 1].state))
    assert [bits_of(report) for report in rest] == [bits_of(report) for report in whole[done:]]
    assert log_of(rest) == log_of(whole[done:])


def test_bits_and_log_are_the_same_for_any_number_of_workers() -> None:
    found = [
        synchronous(Local(fedavg(), workers=n), takes=EVERYBODY, devices=unequal(*SLOW, dropout=0.2))
        for n in (1, 2, 3)
    ]
    assert len({log_of(reports) for reports in found}) == 1
    assert len({str(bits_of(reports[-1])) for reports in found}) == 1


def test_an_event_is_told_in_a_line() -> None:
    assert [str(event) for event in log_of(run(cohort(1), num=1))] == [
        "0.000000 s: client 1 begins (version 0)",
        "2.000000 s: client 1 comes (version 0)",
        "2.000000 s: the server steps (version 1)",
    ]
