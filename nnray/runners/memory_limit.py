"""Whether the kernel has killed a process at a memory limit: it tells the control group, not the victim."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 60
_V1 = ("memory.limit_in_bytes", "memory.oom_control")
_V2 = ("memory.max", "memory.events")


def oom_kills() -> int:
    """Processes that were killed so far at a memory limit that this process lives under."""
    return sum(_count(folder / name) for folder, (_, name) in _groups())


def memory_limit() -> int | None:
    """The tightest of those limits in bytes; None where there is none."""
    limits = [_limit(folder / name) for folder, (name, _) in _groups()]
    return min((limit for limit in limits if limit is not None), default=None)


def _groups() -> Iterator[tuple[Path, tuple[str, str]]]:
    """The control groups of this process that limit memory, with the names of their files."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from ((folder, _V2) for folder in _upwards(_ROOT, path))
        elif "memory" in controllers.split(","):
            yield from ((folder, _V1) for folder in _upwards(_ROOT / "memory", path))


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """A group and those around it, as far as they can be seen from here."""
    folder = root / path.lstrip("/")
    if not folder.is_dir():
        folder = root
    while folder != root.parent:
        yield folder
        folder = folder.parent


def _count(file: Path) -> int:
    for line in _lines(file):
        name, _, value = line.partition(" ")
        if name == "oom_kill":
            return int(value)
    return 0


def _limit(file: Path) -> int | None:
    for line in _lines(file):
        return int(line) if line.isdigit() and int(line) < _UNLIMITED else None
    return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
