"""What a killed process leaves behind is cleared up, and nothing else."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from nnray.runners.guard import watch

HOLDER = "import signal, sys; file = open(sys.argv[1], 'w'); print('up', flush=True); signal.pause()"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "session"
    folder.mkdir()
    return folder


@contextmanager
def hold(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has a file open."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


@pytest.fixture
def held(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with hold(folder / "log") as process:
        yield process


def test_once_its_pipe_closes_it_ends_what_uses_the_folder(
    folder: Path, held: subprocess.Popen[bytes]
) -> None:
    guard = watch(folder)
    assert held.poll() is None
    guard.communicate(timeout=30)
    assert held.wait(10) == -signal.SIGKILL
    assert not folder.exists()


def test_a_driver_that_lets_go_in_good_order_is_spared(folder: Path) -> None:
    with (folder / "log").open("w") as own:
        watch(folder).communicate(timeout=30)
        own.write("still here")
    assert not folder.exists()


def test_it_leaves_others_alone(folder: Path, tmp_path: Path) -> None:
    """A folder with a longer name is another one."""
    beside = tmp_path / "session2"
    beside.mkdir()
    with hold(beside / "log") as other:
        watch(folder).communicate(timeout=30)
        assert other.poll() is None
        assert beside.exists()


DRIVER = """
    import signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from nnray.runners.guard import watch
    print(watch(Path(sys.argv[1])).pid, flush=True)
    signal.pause()
"""


def test_a_killed_driver_is_cleared_up_after(folder: Path, held: subprocess.Popen[bytes], root: Path) -> None:
    code = [sys.executable, "-c", textwrap.dedent(DRIVER), str(folder), str(root)]
    with subprocess.Popen(code, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        guard = psutil.Process(int(driver.stdout.readline()))
        driver.kill()
    psutil.wait_procs([guard], timeout=30)
    assert held.wait(10) == -signal.SIGKILL
    assert not folder.exists()


def test_it_is_small(folder: Path) -> None:
    guard = watch(folder)
    assert psutil.Process(guard.pid).memory_info().rss < 40e6
    guard.communicate(timeout=30)
