"""``python -m nnray`` is the command ``nnray``."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT


def run(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nnray", *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_it_is_the_command() -> None:
    done = run("check", "jobs/digits.yaml")
    assert done.returncode == 0, done.stderr


def test_a_mistake_ends_it_with_two() -> None:
    done = run("check", "jobs/nothing.yaml")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
