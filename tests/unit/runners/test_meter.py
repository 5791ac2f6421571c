"""What a process takes of the machine."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from nnray.runners.meter import Meter
from tests.conftest import ROOT


def test_a_busy_process_takes_a_core_and_an_idle_one_none() -> None:
    meter = Meter()
    end = time.thread_time() + 0.2
    while time.thread_time() < end:
        pass
    busy = meter.read()["system/cpu_utilization_percentage"]
    threading.Event().wait(0.2)
    idle = meter.read()["system/cpu_utilization_percentage"]
    assert busy > 10
    assert idle < busy


HOLDING = """
import sys
sys.path.insert(0, sys.argv[1])
from nnray.runners.meter import Meter
meter = Meter()
meter.read()  # imports torch
before = meter.read()["system/memory_usage_megabytes"]
held = bytearray(b"x" * 50_000_000)
print(meter.read()["system/memory_usage_megabytes"] - before, len(held))
"""


def test_memory_grows_with_what_is_held() -> None:
    """In a process of its own: this one has memory to spare from other tests."""
    command = [sys.executable, "-c", HOLDING, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 40 < float(done.stdout.split()[0]) < 200


def test_names_are_those_that_mlflow_shows_as_system_metrics() -> None:
    assert all(name.startswith("system/") for name in Meter().read())
