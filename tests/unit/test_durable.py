"""Files are whole or not there; torn lines are passed over, and never glued to the next."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray import durable
from nnray.durable import append_json, read_json_lines, sha256_file, write_bytes, write_json

OBJECTS = st.lists(
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none(), max_size=3),
    max_size=6,
)


def lines(path: Path) -> list[dict[str, Any]]:
    return list(read_json_lines(path))


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_the_hash_is_that_of_all_bytes(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "f").write_bytes(data[:size])
    assert sha256_file(tmp_path / "f") == hashlib.sha256(data[:size]).hexdigest()


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_bytes(path, b"old and longer")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["f"]  # noqa: PTH208 (hidden files too)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "f"
    write_bytes(path, b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable.os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]  # noqa: PTH208 (hidden files too)


def test_content_is_on_the_disk_before_the_name_is_and_the_name_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(durable.os, "fsync", lambda f: (calls.append("fsync"), fsync(f))[1])
    monkeypatch.setattr(durable.os, "replace", lambda a, b: (calls.append("replace"), replace(a, b))[1])
    write_bytes(tmp_path / "f", b"x")
    assert calls == ["fsync", "replace", "fsync"]


def test_a_json_file_reads_back_and_is_made_for_people(tmp_path: Path) -> None:
    value = {"b": 1, "a": {"d": None, "c": [1.5, "é"]}}
    write_json(tmp_path / "f.json", value)
    text = (tmp_path / "f.json").read_text()
    assert json.loads(text) == value
    assert text.index('"a"') < text.index('"b"')
    assert text.endswith("}\n")


@given(objects=OBJECTS)
def test_lines_read_back_in_order(
    tmp_path_factory: pytest.TempPathFactory, objects: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("lines") / "log.jsonl"
    for value in objects:
        append_json(path, value)
    assert lines(path) == objects


def test_a_file_that_isn_t_there_has_no_lines(tmp_path: Path) -> None:
    assert lines(tmp_path / "none.jsonl") == []


def test_a_cut_anywhere_loses_at_most_the_line_it_is_in(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    written = [{"epoch": 1}, {"epoch": 2, "text": "é\n"}, {"epoch": 3}]
    for value in written:
        append_json(path, value)
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        kept = lines(path)
        assert kept == written[: len(kept)]
        assert len(kept) >= whole[:cut].count(b"\n")
        append_json(path, {"epoch": 4})
        assert lines(path) == [*kept, {"epoch": 4}]


@pytest.mark.parametrize(
    "junk", [b"\x00\xff\xfe\n", b"[1, 2]\n", b"3\n", b"\n", b'"text"\n', b"\xed\xa0\x80\n"]
)
def test_lines_that_are_no_objects_are_passed_over(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"a": 1}\n' + junk + b'{"a": 2}\n')
    assert lines(path) == [{"a": 1}, {"a": 2}]


def test_a_line_is_on_the_disk_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    sizes: list[int] = []
    monkeypatch.setattr(durable.os, "fsync", lambda _: sizes.append(path.stat().st_size))
    append_json(path, {"a": 1})
    assert sizes[0] == path.stat().st_size == len('{"a": 1}\n')
