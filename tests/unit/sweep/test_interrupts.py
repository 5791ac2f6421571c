"""Ctrl-C once, and twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import psutil
import pytest

from nnray.runners.sweep.interrupts import interrupts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_a_calm_block_the_first_is_only_noted(number: signal.Signals) -> None:
    with interrupts("run") as told, told.calm():
        os.kill(os.getpid(), number)
        pause = threading.Event()
        deadline = time.monotonic() + 10
        while not told.is_set and time.monotonic() < deadline:
            pause.wait(0.001)
        assert told.is_set


def test_elsewhere_the_first_raises() -> None:
    with interrupts("run") as told, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert told.is_set


def test_the_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with interrupts("run"):
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_in_other_threads_none_arrives() -> None:
    seen: list[bool] = []

    def run() -> None:
        with interrupts("run") as told, told.calm():
            seen.append(told.is_set)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [False]


STUBBORN = """
    import signal, subprocess, sys
    from nnray.runners.sweep.interrupts import interrupts
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.signal(2, signal.SIG_IGN); "
                              "print('up', flush=True); signal.pause()"], stdout=subprocess.PIPE)
    child.stdout.readline()
    with interrupts("digits-sweep-1") as told, told.calm():
        print(child.pid, flush=True)
        while True:
            signal.pause()
"""


def test_twice_leaves_at_once_with_all_that_was_started() -> None:
    code = [sys.executable, "-c", textwrap.dedent(STUBBORN)]
    with subprocess.Popen(code, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()))
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert any(line.startswith("stopping") for line in process.stderr)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "`nnray resume digits-sweep-1` goes on from here" in err
    _, alive = psutil.wait_procs([child], timeout=10)
    assert alive == []
