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

from tests.conftest import ROOT

HOLDER = "import signal, sys; file = open(sys.argv[1], 'w'); print('up', flush=True); signal.pause()"
DRIVER = """
    import signal, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from nnray.runners.guard import guard, watch
    for folder in sys.argv[2:]:
        watch(Path(folder))
    own = (Path(sys.argv[2]) / "driver.log").open("w")
    print(guard().pid, flush=True)
    sys.stdin.read()
    own.write("still here")
"""


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


@contextmanager
def driver(*folders: Path) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A process that has told its guard of folders, and the guard; it ends once its input does."""
    command = [sys.executable, "-c", textwrap.dedent(DRIVER), str(ROOT), *map(str, folders)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, psutil.Process(int(process.stdout.readline()))


def test_a_killed_driver_is_cleared_up_after(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "token"
    other.mkdir()
    with hold(folder / "log") as held:
        with driver(folder, other) as (process, guard):
            assert held.poll() is None
            process.kill()
        psutil.wait_procs([guard], timeout=30)
        assert held.wait(10) == -signal.SIGKILL
    assert not guard.is_running()
    assert not folder.exists()
    assert not other.exists()


def test_a_driver_that_ends_in_good_order_is_spared(folder: Path) -> None:
    with driver(folder) as (process, guard):
        process.communicate()
    assert process.returncode == 0
    psutil.wait_procs([guard], timeout=30)
    assert not guard.is_running()
    assert not folder.exists()


def test_nothing_is_cleared_while_the_driver_lives(folder: Path) -> None:
    with hold(folder / "log") as held, driver(folder) as (process, guard):
        assert guard.is_running()
        assert held.poll() is None
        process.communicate()


def test_it_leaves_others_alone(folder: Path, tmp_path: Path) -> None:
    """A folder with a longer name is another one."""
    beside = tmp_path / "session2"
    beside.mkdir()
    with hold(beside / "log") as other:
        with driver(folder) as (process, guard):
            process.kill()
        psutil.wait_procs([guard], timeout=30)
        assert other.poll() is None
        assert beside.exists()


def test_it_is_small(folder: Path) -> None:
    with driver(folder) as (process, guard):
        assert guard.memory_info().rss < 40e6
        process.communicate()
