"""Clients that come to nothing in rounds without a cohort: each is named, and another takes its place."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from nnray.errors import ClientFailure
from nnray.federated.rounds import Policy
from nnray.federated.strategies.fedbuff import fedbuff
from nnray.federated.virtual import asynchronous as module
from nnray.federated.virtual.report import TimedReport, log_of
from nnray.federated.virtual.windows import daily
from tests.unit.federated.virtual.play import Local, asynchronous, bits_of, unequal

SLOW = (1.0, 2.0, 3.0, 5.0, 8.0, 13.0)


def test_an_update_that_is_too_old_is_named_and_left_out() -> None:
    devices = unequal(1, 1, 1, 1, 1, 13)
    reports = asynchronous(num=30, devices=devices, concurrency=4, max_staleness=2)
    assert max(max(report.staleness) for report in reports) <= 2
    faults = [fault for report in reports for fault in report.faults]
    assert {(fault.failed.client, fault.fate) for fault in faults} == {(5, "replaced")}
    assert "too old when it came, 13.000 virtual seconds after it began" in faults[0].failed.error
    late = [event for event in log_of(reports) if event.kind == "is too old"]
    assert len(late) == len(faults)


def test_an_update_is_too_old_from_one_step_more_than_may_be() -> None:
    freely = asynchronous(num=30)
    worst = max(max(report.staleness) for report in freely)
    assert log_of(asynchronous(num=30, max_staleness=worst)) == log_of(freely)
    less = asynchronous(num=30, max_staleness=worst - 1)
    assert max(max(report.staleness) for report in less) == worst - 1
    assert any(report.faults for report in less)


def test_clients_that_drop_out_are_named_and_others_take_their_places() -> None:
    reports = asynchronous(num=30, devices=unequal(*SLOW, dropout=0.5))
    events = Counter(event.kind for event in log_of(reports))
    faults = [fault for report in reports for fault in report.faults]
    assert len(faults) == events["drops out"] > 10
    assert all("dropped out, " in fault.failed.error and fault.fate == "replaced" for fault in faults)
    assert [len(report.reports) for report in reports] == [2] * 30


def test_a_client_that_is_no_longer_there_is_lost() -> None:
    windows = daily(6, np.random.default_rng(1), share=0.5, period_s=20.0)
    reports = asynchronous(num=30, devices=unequal(*SLOW, windows=windows))
    lost = [fault.failed for report in reports for fault in report.faults]
    assert all("was no longer there" in failed.error for failed in lost)
    # Ten seconds are too short for the one that needs thirteen, and long enough for three.
    assert 5 in {failed.client for failed in lost}
    assert 5 not in {client.client for report in reports for client in report.reports}
    assert {0, 1, 2} <= {client.client for report in reports for client in report.reports}


def test_clients_begin_only_when_they_are_there() -> None:
    windows = daily(6, np.random.default_rng(1), share=0.3, period_s=50.0)
    assert windows is not None
    reports = asynchronous(num=20, devices=unequal(*SLOW, windows=windows))
    begins = [event for event in log_of(reports) if event.kind == "begins"]
    for event in begins:
        assert windows.next_begin(np.array([event.client]), event.time)[0] == event.time
    # Somebody begins as a window opens, while others are at work and nobody comes to an end.
    ends = {event.time for event in log_of(reports) if event.kind in ("comes", "drops out", "leaves")}
    alone = [event for event in begins if event.time and event.time not in ends]
    spans = spans_of(reports)
    assert any(begin < event.time < end for event in alone for begin, end in spans)


def spans_of(reports: list[TimedReport]) -> list[tuple[int, int]]:
    """When clients began and came to their ends."""
    began: dict[int, int] = {}
    spans = []
    for event in log_of(reports):
        if event.kind == "begins":
            began[event.client] = event.time
        elif event.client in began:
            spans.append((began.pop(event.client), event.time))
    return spans


def test_a_client_that_fails_once_is_trained_again() -> None:
    train = Local(fedbuff())
    train.fails = lambda client, call: call == 1
    reports = asynchronous(train)
    assert {fault.fate for fault in reports[0].faults} == {"retried"}
    assert bits_of(reports[-1]) == bits_of(asynchronous()[-1])
    assert log_of(reports) == log_of(asynchronous())


@pytest.mark.parametrize("on_error", ["retry", "drop"])
def test_for_a_client_that_keeps_failing_the_next_to_come_is_taken(on_error: Any) -> None:
    train = Local(fedbuff())
    train.fails = lambda client, call: client == 0
    reports = asynchronous(train, num=6, policy=Policy(on_error))
    faults = [fault for report in reports for fault in report.faults]
    fates = {"retry": {"retried", "replaced"}, "drop": {"replaced"}}[on_error]
    assert {(fault.failed.client, fault.failed.error) for fault in faults} == {(0, "gone")}
    assert {fault.fate for fault in faults} == fates
    assert [len(report.reports) for report in reports] == [2] * 6
    assert 0 not in {client.client for report in reports for client in report.reports}
    first = next(report for report in reports if report.faults)
    replaced = sum(fault.fate == "replaced" for fault in first.faults)
    assert Counter(event.kind for event in first.events)["comes"] == 2 + replaced


def test_where_errors_are_to_end_the_run_the_first_does() -> None:
    train = Local(fedbuff())
    train.fails = lambda client, call: client == 0
    with pytest.raises(ClientFailure, match=r"(?s)on_client_error is fail; .*client 0: gone \(given up\)"):
        asynchronous(train, num=6, policy=Policy("fail"))
    assert len(train.calls) <= 12


def test_when_as_many_fail_as_are_at_work_the_run_ends() -> None:
    train = Local(fedbuff())
    train.fails = lambda client, call: True
    with pytest.raises(ClientFailure, match=r"round 1: 4 clients failed, as many as are at work"):
        asynchronous(train)


def test_when_nobody_ever_comes_to_an_end_the_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FUTILE", 100)
    windows = daily(6, np.random.default_rng(1), share=0.01, period_s=50.0)
    with pytest.raises(ClientFailure, match=r"(?s)the last 100 clients came to nothing.*no longer there"):
        asynchronous(devices=unequal(*SLOW, windows=windows))
