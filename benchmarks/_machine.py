"""What a figure was measured on: every benchmark states it."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path


def processor() -> str:
    """The processor's name and how many cores of it there are."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} cores of {names[0] if names else platform.machine()}"


def commit() -> str:
    """The commit that was measured, and whether files differed from it."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def versions(*packages: str) -> str:
    """The machine, these packages' versions, Python's, and the commit."""
    listed = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{processor()}, {listed}, Python {platform.python_version()}, {commit()}"


def row(*cells: str) -> str:
    """A row for jobs/LOG.md: the day, what was measured, and on what."""
    return " | ".join([f"| {time.strftime('%Y-%m-%d')}", *cells, f"{versions('torch')} |"])
