"""Whether a process is at a run, told from its folder alone."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nnray.errors import RunError
from nnray.runners import lease
from nnray.runners.folder import RunFolder, state
from nnray.runners.lease import EXPIRY_S, Lease, holder, is_held, renew

MakeRun = Callable[..., RunFolder]


def _rewrite(folder: Path, **changes: Any) -> None:
    path = folder / "lease.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _age(folder: Path, seconds: float) -> None:
    """Let a lease be so old, for this machine and for another one."""
    found = holder(folder)
    assert found is not None
    written = (folder / "lease.json").stat().st_mtime - seconds
    _rewrite(folder, beat_s=found["beat_s"] - seconds)
    os.utime(folder / "lease.json", (written, written))


def test_a_lease_lasts_as_long_as_its_block(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    with Lease(tmp_path):
        assert is_held(tmp_path)
        found = holder(tmp_path)
        assert found is not None
        assert found["pid"] == os.getpid()
    assert not is_held(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_it_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.01)
    with Lease(tmp_path):
        first = holder(tmp_path)
        while holder(tmp_path) == first:
            assert is_held(tmp_path)


@pytest.mark.parametrize("boot", [None, "another machine's"])
def test_an_old_one_counts_no_more(tmp_path: Path, boot: str | None) -> None:
    renew(tmp_path)
    if boot is not None:
        _rewrite(tmp_path, boot=boot)
    _age(tmp_path, EXPIRY_S - 5)
    assert is_held(tmp_path)
    _age(tmp_path, 10)
    assert not is_held(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lease.json"]


def test_the_clocks_of_two_machines_are_not_compared(tmp_path: Path) -> None:
    """The other one's counts from its own start, and may say anything."""
    renew(tmp_path)
    for beat_s in (0.0, 1e12):
        _rewrite(tmp_path, boot="another machine's", beat_s=beat_s)
        assert is_held(tmp_path)


def test_a_cut_lease_is_none(tmp_path: Path) -> None:
    (tmp_path / "lease.json").write_text('{"boot"')
    assert not is_held(tmp_path)


def test_a_run_that_was_just_made_is_running(make_run: MakeRun) -> None:
    assert state(make_run().path) == "running"


def test_the_states_of_a_run_in_its_order(make_run: MakeRun) -> None:
    run = make_run()
    with run.held():
        assert state(run.path) == "running"
    assert state(run.path) == "lost", "it has said nothing of its end"
    for status in ("interrupted", "failed"):
        run.update(status=status)
        assert state(run.path) == "resumable"
    with run.held():
        assert state(run.path) == "running", "somebody goes on with it"
    run.finish({"run_id": "x"})
    assert state(run.path) == "ended"


def _hold(path: Path, ready: Any) -> None:
    with RunFolder(path).held():
        ready.set()
        signal.pause()


def test_a_killed_process_leaves_its_run_lost(make_run: MakeRun) -> None:
    run, context = make_run(), multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(run.path, ready))
    process.start()
    assert ready.wait(60)
    assert state(run.path) == "running"
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    _age(run.path, EXPIRY_S)
    assert state(run.path) == "lost"
    with run.held():
        assert state(run.path) == "running"


def test_a_process_that_hangs_still_holds_its_lock(make_run: MakeRun) -> None:
    run = make_run()
    with run.held():
        _age(run.path, EXPIRY_S)
        assert run.is_locked
        assert state(run.path) == "running"
    assert not run.is_locked


def test_a_run_of_another_machine_is_not_taken(make_run: MakeRun) -> None:
    run = make_run()
    renew(run.path)
    _rewrite(run.path, host="elsewhere", boot="another machine's", pid=7)
    with pytest.raises(RunError, match=r"process 7 on elsewhere"), run.held():
        pass
    _age(run.path, EXPIRY_S)
    with run.held():
        assert state(run.path) == "running"
