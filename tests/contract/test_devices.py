"""Laws that every fleet of devices of the catalog obeys."""

from __future__ import annotations

import inspect
import json
import pickle
import tracemalloc
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.catalog import CATALOG
from nnray.federated.virtual.devices import Devices

KINDS = sorted(CATALOG["device"])
every_kind = pytest.mark.parametrize("name", KINDS)
LISTED = {
    "period_s": 100,
    "devices": [
        {"step_s": 0.1, "down_bytes_s": 1e6, "up_bytes_s": 1e5, "dropout": 0.5, "available": [[0, 50]]},
        {"step_s": 0.2, "down_bytes_s": 2e6, "up_bytes_s": 1e5},
        {"step_s": 0.4, "down_bytes_s": 2e6, "up_bytes_s": 1e5, "available": [[10, 20], [90, 100]]},
    ],
}


@pytest.fixture(autouse=True)
def trace_file() -> None:
    Path("devices.json").write_text(json.dumps(LISTED))


def function(name: str) -> Any:
    module, _, attribute = CATALOG["device"][name].partition(":")
    return getattr(import_module(module), attribute)


def fleet(name: str, num_clients: int = 200, *, seed: int = 0, **options: Any) -> Devices:
    options |= {"file": "devices.json"} if name == "trace" else {}
    taken = inspect.signature(function(name)).parameters
    given_ = {key: value for key, value in options.items() if key in taken}
    made: Devices = function(name)(num_clients, np.random.default_rng(seed), **given_)
    return made


def arrays(devices: Devices) -> list[list[float]]:
    found = [devices.step_s, devices.down, devices.up, devices.dropout]
    if devices.windows is not None:
        found += [devices.windows.phase, devices.windows.routine]
    return [part.tolist() for part in found]


@every_kind
@given(num_clients=st.integers(1, 300), seed=st.integers(0, 2**32), available=st.floats(1e-6, 1.0))
def test_every_client_has_a_device_that_comes_to_an_end(
    name: str, num_clients: int, seed: int, available: float
) -> None:
    devices = fleet(name, num_clients, seed=seed, available=available)
    assert len(devices) == num_clients
    for part in (devices.step_s, devices.down, devices.up, devices.dropout):
        assert part.shape == (num_clients,)
    assert (devices.dropout < 1.0).all()
    for client in (0, num_clients - 1):
        assert devices.duration(client, num_steps=0, bytes_down=0, bytes_up=0) == 1
        takes = devices.duration(client, num_steps=10, bytes_down=1000, bytes_up=1000)
        expected = 10 * devices.step_s[client] + 1000 / devices.down[client] + 1000 / devices.up[client]
        assert takes == max(1, round(expected * 1e6))


@every_kind
def test_the_generator_alone_decides(name: str) -> None:
    one, again, other = (arrays(fleet(name, seed=seed, available=0.5, spread=0.1)) for seed in (1, 1, 2))
    assert one == again
    assert (one != other) == (name != "trace")


@every_kind
def test_it_goes_to_another_process_and_is_the_same_there(name: str) -> None:
    devices = fleet(name, available=0.5)
    assert arrays(pickle.loads(pickle.dumps(devices))) == arrays(devices)


@every_kind
def test_memory_is_a_few_numbers_for_each_of_a_million_clients(name: str) -> None:
    fleet(name, 1000, available=0.5)
    tracemalloc.start()
    try:
        devices = fleet(name, 1_000_000, available=0.5)
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(devices) == 1_000_000
    assert kept < 65e6, kept
