"""Freed memory stays in the process: counted in page faults, which other load doesn't change."""

from __future__ import annotations

import ctypes
import gc
import platform
import subprocess
import sys
import weakref
from types import SimpleNamespace

import pytest

from nnray.training.memory import keep_memory, settled_objects

# Blocks of 64 MiB lie above every threshold that glibc would come to by itself.
SCRIPT = """
import resource, sys
from nnray.training.memory import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory() and keep_memory()
block = b"x" * (64 << 20)
del block
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    block = b"x" * (64 << 20)
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(argument: str) -> int:
    command = [sys.executable, "-c", SCRIPT, argument]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_freed_blocks_are_used_again_without_a_page_fault() -> None:
    if platform.libc_ver()[0] == "glibc":
        assert page_faults("keep") * 10 < page_faults("plain")
    else:
        assert not keep_memory()


def fake(monkeypatch: pytest.MonkeyPatch, **functions: object) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace(**functions))


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: int) -> int:
        raise AssertionError("mallopt was called")

    fake(monkeypatch, mallopt=never)
    assert not keep_memory()


@pytest.mark.parametrize("error", [OSError, TypeError])
def test_where_there_is_no_c_library_to_open_nothing_happens(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(_name: object) -> object:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", fail)
    assert not keep_memory()


@pytest.mark.parametrize("highest", [2**31, 2**25, 0])
def test_the_highest_threshold_that_glibc_takes_is_set_and_trimming_never_alone(
    monkeypatch: pytest.MonkeyPatch, highest: int
) -> None:
    taken: dict[int, int] = {}

    def mallopt(option: int, value: int) -> int:
        if option == -3 and value > highest:
            return 0
        taken[option] = value
        return 1

    fake(monkeypatch, mallopt=mallopt, gnu_get_libc_version=None)
    assert keep_memory() == (highest > 0)
    assert taken == ({-3: min(highest, 2**30), -1: 2**30} if highest else {})


RELEASE = """
import sys
import weakref
from nnray.training.memory import release_memory
assert release_memory()
rss = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096
warm = [bytearray(20 << 20) for _ in range(3)]  # frees of such blocks raise glibc's own threshold
del warm
kept, blocks = [], []
for _ in range(20):
    blocks.append(b"x" * (8 << 20))
    kept.append(b"y" * 200_000)  # stands above the block in a heap, and would hold it there
before = rss()
blocks.clear()
print((before - rss()) >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc")
def test_released_blocks_go_back_whatever_stands_above_them() -> None:
    done = subprocess.run([sys.executable, "-c", RELEASE], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 150
    heap = RELEASE.replace(
        "assert release_memory()", "from nnray.training.memory import keep_memory; keep_memory()"
    )
    done = subprocess.run([sys.executable, "-c", heap], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 50


def test_objects_that_are_there_are_passed_over_and_what_a_block_makes_is_collected() -> None:
    class Ring:
        def __init__(self) -> None:
            self.own = self

    before = gc.get_freeze_count()
    with settled_objects():
        assert gc.get_freeze_count() > before
        made = weakref.ref(Ring())
        gc.collect()
        assert made() is None
    assert gc.get_freeze_count() == 0
    with pytest.raises(ZeroDivisionError), settled_objects():
        1 / 0  # noqa: B018
    assert gc.get_freeze_count() == 0
