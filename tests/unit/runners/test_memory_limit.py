"""What the control group says, in both of its versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnray.runners import memory_limit
from nnray.runners.memory_limit import oom_kills


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root of control groups, with nothing in it."""
    monkeypatch.setattr(memory_limit, "_ROOT", tmp_path)
    return tmp_path


def belong(path: str, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Have this process belong to groups as /proc/self/cgroup says."""
    own = root / "self"
    own.write_text(path)
    monkeypatch.setattr(
        memory_limit, "Path", lambda given: own if given == "/proc/self/cgroup" else Path(given)
    )


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_version_2(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    belong("0::/job/step\n", monkeypatch, groups)
    write(groups / "job", memory__max="2000000000\n", memory__events="low 0\noom 4\noom_kill 3\n")
    write(groups / "job" / "step", memory__max="max\n", memory__events="oom_kill 0\n")
    assert memory_limit.memory_limit() == 2_000_000_000
    assert oom_kills() == 3


def test_version_1(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    belong("9:cpu:/\n4:memory:/job\n0::/\n", monkeypatch, groups)
    write(
        groups / "memory" / "job",
        memory__limit_in_bytes="1500000000\n",
        memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    )
    write(groups / "memory", memory__limit_in_bytes="9223372036854771712\n")
    assert memory_limit.memory_limit() == 1_500_000_000
    assert oom_kills() == 2


def test_inside_a_container_the_root_is_the_group(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    belong("0::/not/seen/from/here\n", monkeypatch, groups)
    write(groups, memory__max="1000000\n", memory__events="oom_kill 1\n")
    assert memory_limit.memory_limit() == 1_000_000
    assert oom_kills() == 1


@pytest.mark.parametrize("text", ["", "0::/\n", "4:memory:/job\n"])
def test_without_limits_there_is_nothing_to_say(
    groups: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    belong(text, monkeypatch, groups)
    assert memory_limit.memory_limit() is None
    assert oom_kills() == 0


def test_here_it_can_be_read() -> None:
    assert oom_kills() >= 0
