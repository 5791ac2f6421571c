"""The spool on disk: a queue that outlives its process, whatever a kill or a stranger left in it."""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.errors import RunError
from nnray.tracking import DiskSpool, disk_spool
from nnray.tracking.spool import Entry
from tests.conftest import ROOT

COUNT = st.integers(1, 4)


def numbered(number: int) -> Entry:
    return Entry("tags", "run", {"tags": {"n": number}})


def fill(folder: Path, count: int) -> None:
    spool = DiskSpool(folder)
    for number in range(count):
        spool.append(numbered(number))
    spool.close()


def held(spool: DiskSpool) -> list[Any]:
    """The numbers of all unsent entries."""
    return [entry.body["tags"]["n"] for entry in spool.peek(10_000)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "spool"


@given(steps=st.lists(st.one_of(st.just("append"), st.just("open again"), COUNT), max_size=40))
def test_it_is_a_queue_also_when_it_is_opened_again(
    steps: list[str | int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run") / "spool"
    spool, model, made = DiskSpool(folder), list[Entry](), 0
    for step in steps:
        if step == "append":
            model.append(numbered(made := made + 1))
            spool.append(model[-1])
        elif step == "open again":
            spool.close()
            spool = DiskSpool(folder)
        elif isinstance(step, int) and step <= len(model):
            assert list(spool.peek(step)) == model[:step]
            spool.ack(step)
            del model[:step]
        assert len(spool) == len(model)
    assert list(spool.peek(100)) == model
    spool.close()


@given(st.floats(), st.text())
def test_any_value_comes_back_as_it_was(value: float, text: str) -> None:
    line = disk_spool._line(Entry("metrics", text, {"rows": [[text, value, 1, 2]]}))
    assert line.count(b"\n") == 1
    entry = disk_spool._entry(line)
    back = entry.body["rows"][0]
    assert (entry.run, back[0]) == (text, text)
    assert back[1] == value or (math.isnan(back[1]) and math.isnan(value))


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_last_line_is_dropped_and_the_next_is_whole(folder: Path, cut: int) -> None:
    fill(folder, 3)
    entries = folder / "entries.jsonl"
    entries.write_bytes(entries.read_bytes()[:-1] + b"\n" + disk_spool._line(numbered(3))[:cut])
    spool = DiskSpool(folder)
    assert held(spool) == [0, 1, 2]
    spool.append(numbered(4))
    assert held(spool) == [0, 1, 2, 4]
    spool.close()


def test_a_damaged_line_is_kept_apart_and_hides_no_other(folder: Path) -> None:
    fill(folder, 3)
    entries = folder / "entries.jsonl"
    lines = entries.read_bytes().splitlines(keepends=True)
    for damaged in (b"\0\0\0\n", b"[1, 2]\n", b'{"kind": 5, "run": "a", "body": {}}\n', b"[" * 5_000 + b"\n"):
        entries.write_bytes(lines[0] + damaged + lines[2])
        spool = DiskSpool(folder)
        assert [entry.kind for entry in spool.peek(9)] == ["tags", "damaged", "tags"]
        spool.close()


@pytest.mark.parametrize("sent", ["", "{", "null", '{"offset": "x"}', '{"offset": -5}', '{"offset": 99999}'])
def test_without_a_sound_offset_all_goes_out_again(folder: Path, sent: str) -> None:
    fill(folder, 3)
    (folder / "sent.json").write_text(sent)
    spool = DiskSpool(folder)
    assert held(spool) == [0, 1, 2]
    spool.close()


def test_nothing_is_left_once_all_is_sent(folder: Path) -> None:
    spool = DiskSpool(folder)
    (spool.folder / "model-a").mkdir()
    spool.append(numbered(1))
    spool.close()
    assert (folder / "model-a").exists()
    assert disk_spool.unsent(folder)
    spool = DiskSpool(folder)
    spool.peek(1)
    spool.ack(1)
    spool.close()
    assert {path.name for path in folder.iterdir()} == {"lock"}
    assert not disk_spool.unsent(folder)
    spool.close()


def test_an_offset_without_entries_means_nothing(folder: Path) -> None:
    """A kill between the two removals."""
    fill(folder, 3)
    spool = DiskSpool(folder)
    spool.peek(3)
    spool.ack(3)
    (folder / "entries.jsonl").unlink()
    spool.close()
    (folder / "sent.json").write_text('{"offset": 50}')
    fill(folder, 2)
    spool = DiskSpool(folder)
    assert held(spool) == [0, 1]
    spool.close()


def test_one_process_at_a_time_has_it(folder: Path) -> None:
    spool = DiskSpool(folder)
    spool.append(numbered(1))
    with pytest.raises(RunError, match="run is being run by another process"):
        DiskSpool(folder)
    assert not disk_spool.unsent(folder)
    spool.close()
    assert disk_spool.unsent(folder)
    DiskSpool(folder).close()


def test_a_newer_format_is_left_alone(folder: Path) -> None:
    fill(folder, 1)
    (folder / "spool.json").write_text('{"version": 2}')
    before = (folder / "entries.jsonl").read_bytes()
    with pytest.raises(RunError, match=r"format 2; this nnray reads 1.*nnray sync"):
        DiskSpool(folder)
    assert (folder / "entries.jsonl").read_bytes() == before
    (folder / "spool.json").unlink()
    DiskSpool(folder).close()


def test_records_for_one_store_do_not_go_to_another(folder: Path) -> None:
    spool = DiskSpool(folder)
    spool.address(uri="http://a", experiment="mine")
    spool.append(numbered(1))
    spool.address(uri="http://a", experiment="mine")
    with pytest.raises(RunError, match=r"1 records for http://a, not for http://b.*nnray sync"):
        spool.address(uri="http://b", experiment="mine")
    spool.peek(1)
    spool.ack(1)
    spool.address(uri="http://b", experiment="mine")
    assert disk_spool.read_about(folder) == {"version": 1, "uri": "http://b", "experiment": "mine"}
    spool.close()


def test_a_full_disk_leaves_no_torn_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = DiskSpool(folder)
    spool.append(numbered(1))

    def full(handle: int, data: bytes) -> None:
        os.write(handle, data[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(disk_spool, "_write", full)
        with pytest.raises(OSError, match="No space left"):
            spool.append(numbered(2))
    spool.append(numbered(3))
    assert held(spool) == [1, 3]
    spool.close()


def test_a_full_disk_does_not_stop_what_is_sent(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = DiskSpool(folder)
    spool.append(numbered(1))
    spool.append(numbered(2))
    spool.peek(1)
    with monkeypatch.context() as patch:
        patch.setattr(disk_spool, "_replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        spool.ack(1)
    assert held(spool) == [2]
    spool.close()


def test_memory_does_not_grow_with_what_waits(folder: Path) -> None:
    spool = DiskSpool(folder)
    text = "x" * 10_000
    for _ in range(1_000):
        spool.append(Entry("text", "run", {"text": text, "file": "a"}))
    assert 90 < len(spool.peek(1_000)) < 120
    assert len(spool) == 1_000
    spool.peek(1_000)
    assert len(spool._ahead) < 120
    spool.close()


def test_a_line_longer_than_what_is_held_comes_whole(folder: Path) -> None:
    spool = DiskSpool(folder)
    text = "x" * 3_000_000
    spool.append(Entry("text", "run", {"text": text, "file": "a"}))
    spool.append(numbered(1))
    assert spool.peek(5)[0].body["text"] == text
    spool.ack(1)
    assert held(spool) == [1]
    spool.close()


def test_no_file_stays_open_after_close(folder: Path) -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    DiskSpool(folder).close()
    before = opened()
    for _ in range(5):
        fill(folder, 2)
    assert opened() == before
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > before


def test_threads_append_and_one_takes(folder: Path) -> None:
    spool = DiskSpool(folder)

    def call(number: int) -> None:
        for value in range(300):
            spool.append(Entry("tags", str(number), {"n": value}))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    got: list[Entry] = []
    while len(got) < 900:
        front = spool.peek(50)
        spool.ack(len(front))
        got += front
    for number in range(3):
        assert [e.body["n"] for e in got if e.run == str(number)] == list(range(300))
    assert len(spool) == 0
    spool.close()


def test_what_was_set_aside_is_tried_again_when_asked_for(folder: Path) -> None:
    spool = DiskSpool(folder)
    (folder / "model-a").mkdir()
    spool.append(numbered(1))
    spool.peek(1)
    spool.set_aside(numbered(1))
    spool.ack(1)
    spool.close()
    assert disk_spool.refused(folder)
    assert not disk_spool.unsent(folder)
    assert (folder / "model-a").exists()
    spool = DiskSpool(folder)
    assert held(spool) == []
    spool.retry()
    assert held(spool) == [1]
    assert not disk_spool.refused(folder)
    spool.retry()
    spool.close()


def test_files_of_the_run_are_named_from_its_folder_which_may_move(folder: Path, tmp_path: Path) -> None:
    spool = DiskSpool(folder)
    (folder.parent / "plots").mkdir()
    (folder.parent / "plots" / "a.png").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    names = [spool.keep(folder.parent / "plots" / "a.png"), spool.keep(tmp_path / "b.txt")]
    (tmp_path / "b.txt").unlink()
    spool.append(numbered(1))
    spool.close()
    folder.parent.rename(tmp_path / "moved")
    spool = DiskSpool(tmp_path / "moved" / "spool")
    found = [spool.find(name) for name in names]
    assert [path and path.read_text() for path in found] == ["a", "b"]
    assert [path and path.name for path in found] == ["a.png", "b.txt"]
    spool.close()


def test_a_file_that_is_not_there_is_found_missing_by_its_name(folder: Path, tmp_path: Path) -> None:
    spool = DiskSpool(folder)
    assert spool.keep(tmp_path / "gone.html").endswith("gone.html")
    assert spool.find(spool.keep(tmp_path / "gone.html")) is None
    inside = spool.find(spool.keep(folder.parent / "gone.html"))
    assert inside is not None
    assert not inside.exists()
    spool.close()


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../../etc/passwd", "../secret", "link", "spool/model-a", "\0"]
)
def test_a_strangers_spool_reads_nothing_outside_its_run(folder: Path, tmp_path: Path, name: str) -> None:
    spool = DiskSpool(folder)
    (tmp_path / "secret").write_text("mine")
    (folder.parent / "link").symlink_to(tmp_path / "secret")
    (folder / "model-a").mkdir()
    (folder / "model-a" / "data").symlink_to(tmp_path)
    assert spool.find(name) is None
    spool.close()


def test_what_was_appended_outlives_a_sigkill(folder: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from nnray.tracking import DiskSpool\n"
        "from nnray.tracking.spool import Entry\n"
        "spool = DiskSpool(Path(sys.argv[1]))\n"
        "for n in range(500): spool.append(Entry('tags', 'run', {'tags': {'n': n}}))\n"
        "spool.peek(100); spool.ack(100)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], env={"PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert disk_spool.unsent(folder)
    spool = DiskSpool(folder)
    assert held(spool) == list(range(100, 500))
    spool.close()


def test_the_lines_are_json_that_others_can_read(folder: Path) -> None:
    fill(folder, 2)
    lines = [json.loads(line) for line in (folder / "entries.jsonl").read_text().splitlines()]
    assert lines[1] == {"kind": "tags", "run": "run", "body": {"tags": {"n": 1}}}
