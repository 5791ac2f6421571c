"""Ctrl-C once, and twice."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from nnray.runners.sweep.interrupts import interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_sets_an_event_and_the_second_raises(number: signal.Signals) -> None:
    with interrupts() as event:
        os.kill(os.getpid(), number)
        assert event.wait(10)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


def test_the_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with interrupts():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_other_threads_have_an_event_that_is_never_set() -> None:
    seen: list[bool] = []

    def run() -> None:
        with interrupts() as event:
            seen.append(event.is_set())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [False]
