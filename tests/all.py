"""Runs every test, in two processes: those of Ray and of faults wait more than they compute.

    python tests/all.py

What the first process prints is seen as it comes, what the second prints when both are done.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APART = ("tests/faults", "tests/ray")  # in this order: the cluster that Ray's tests share stays to the end


def main() -> int:
    """Run both; 0 where every test has passed."""
    pytest = [sys.executable, "-m", "pytest"]
    with tempfile.TemporaryFile() as told:
        # Started by Python, not by a shell, which would have a background process ignore Ctrl-C.
        apart = subprocess.Popen([*pytest, *APART], cwd=ROOT, stdout=told, stderr=subprocess.STDOUT)
        here = subprocess.run([*pytest, *(f"--ignore={path}" for path in APART)], cwd=ROOT, check=False)
        print(f"\n== {', '.join(APART)}", flush=True)
        there = apart.wait()
        told.seek(0)
        sys.stdout.buffer.write(told.read())
    return int(here.returncode != 0 or there != 0)


if __name__ == "__main__":
    sys.exit(main())
