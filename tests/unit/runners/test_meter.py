"""What a process takes of the machine."""

from __future__ import annotations

import threading
import time

from nnray.runners.meter import Meter


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


def test_memory_grows_with_what_is_held() -> None:
    meter = Meter()
    before = meter.read()["system/memory_usage_megabytes"]
    held = bytearray(b"x" * 50_000_000)
    after = meter.read()["system/memory_usage_megabytes"]
    assert len(held) == 50_000_000
    assert 40 < after - before < 200


def test_names_are_those_that_mlflow_shows_as_system_metrics() -> None:
    assert all(name.startswith("system/") for name in Meter().read())
