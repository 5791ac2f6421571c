"""What each fleet is like, and what no device can be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnray.errors import DataError
from nnray.federated.virtual.devices import Devices
from nnray.federated.virtual.fleets import classes, lognormal, pareto, uniform
from nnray.federated.virtual.trace import trace
from nnray.federated.virtual.windows import MICRO
from tests.unit.federated.virtual.play import unequal

MANY = 20_000
DEVICE = {"step_s": 0.1, "down_bytes_s": 1e6, "up_bytes_s": 1e5}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_uniform_devices_are_the_same_but_for_the_spread() -> None:
    assert set(uniform(50, rng(), step_s=0.3).step_s.tolist()) == {0.3}
    spread = uniform(MANY, rng(), step_s=0.3, spread=0.5).step_s
    assert 0.15 <= spread.min() < 0.151 and 0.449 < spread.max() <= 0.45
    assert spread.mean() == pytest.approx(0.3, rel=0.01)


def test_lognormal_devices_have_the_median_and_the_spread_that_were_asked_for() -> None:
    devices = lognormal(MANY, rng(), step_s=0.3, sigma=0.8, link_sigma=0.4)
    logs = np.log(devices.step_s)
    assert np.exp(np.median(logs)) == pytest.approx(0.3, rel=0.03)
    assert logs.std() == pytest.approx(0.8, rel=0.03)
    assert np.log(devices.down).std() == pytest.approx(0.4, rel=0.03)
    assert devices.down / devices.up == pytest.approx(np.full(MANY, 2.5))


def test_pareto_devices_have_a_heavy_tail() -> None:
    """The share that is slower than x times the fastest is x ** -shape."""
    steps = pareto(MANY, rng(), step_s=0.01, shape=1.2).step_s
    assert steps.min() >= 0.01
    for times in (2, 10, 50):
        expected = times**-1.2
        found = (steps > 0.01 * times).mean()
        assert abs(found - expected) < 5 * np.sqrt(expected / MANY)


def test_classes_come_in_their_shares_and_whole() -> None:
    devices = classes(MANY, rng(), shares=(1.0, 3.0), step_s=(0.1, 0.2), down_bytes_s=(5.0, 6.0),
                      up_bytes_s=(7.0, 8.0), dropout=(0.0, 0.5))  # fmt: skip
    rows = np.stack([devices.step_s, devices.down, devices.up, devices.dropout], axis=1)
    kinds, counts = np.unique(rows, axis=0, return_counts=True)
    assert kinds.tolist() == [[0.1, 5.0, 7.0, 0.0], [0.2, 6.0, 8.0, 0.5]]
    assert counts[0] / MANY == pytest.approx(0.25, abs=0.02)


def test_each_class_has_each_number() -> None:
    with pytest.raises(DataError, match=r"step_s has 3 values for 2 shares: give one for each class"):
        classes(5, rng(), shares=(0.5, 0.5))


@pytest.mark.parametrize("make", [uniform, lognormal, pareto, classes])
def test_somebody_must_come(make: Any) -> None:
    with pytest.raises(DataError, match="available is 0, so that nobody ever comes"):
        make(5, rng(), available=0.0)


def test_what_never_ends_is_refused() -> None:
    with pytest.raises(DataError, match=r"step_s of client \d+ is .*; allowed: 0 to 1e\+06"):
        pareto(MANY, rng(), shape=0.1)
    with pytest.raises(DataError, match="dropout of client 0 is 1; allowed: 0 to 1"):
        unequal(1.0, dropout=1.0)
    one = np.ones(2)
    with pytest.raises(DataError, match=r"down_bytes_s of client 1 is 0\.5; allowed: 1 to inf"):
        Devices(step_s=one, down=np.array([1.0, 0.5]), up=one, dropout=0 * one)


def listed(*devices: Any, **more: Any) -> Devices:
    Path("devices.json").write_text(json.dumps({"devices": list(devices), **more}))
    return trace(5, rng(), file="devices.json")


def test_a_trace_lists_devices_and_begins_again_after_the_last() -> None:
    found = listed(DEVICE, {**DEVICE, "step_s": 0.2, "dropout": 0.25})
    assert found.step_s.tolist() == [0.1, 0.2, 0.1, 0.2, 0.1]
    assert found.dropout.tolist() == [0.0, 0.25, 0.0, 0.25, 0.0]
    assert found.up.tolist() == [1e5] * 5
    assert found.windows is None


def test_a_trace_tells_when_devices_are_there() -> None:
    found = listed({**DEVICE, "available": [[10, 20.5], [90, 100]]}, DEVICE, period_s=100).windows
    assert found is not None
    at = found.next_begin(np.array([0, 1, 2]), 30 * MICRO)
    assert at.tolist() == [90 * MICRO, 30 * MICRO, 90 * MICRO]
    assert found.left(0, 15 * MICRO) == 5_500_000
    assert found.left(1, 0) is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is not readable JSON"),
        ("[]", r"holds \[\]"),
        ('{"devices": []}', r"devices is \[\]"),
        ('{"devices": [3]}', "device 0 is 3"),
        ('{"devices": [{"steps": 1}]}', "device 0 is "),
        ('{"devices": [{}], "more": 1}', "holds "),
    ],
)
def test_what_is_no_trace_is_refused_with_what_one_looks_like(content: str, told: str) -> None:
    Path("devices.json").write_text(content)
    with pytest.raises(
        DataError, match=rf"federated\.devices\.file: devices\.json.*{told}.*expected JSON such as"
    ):
        trace(5, rng(), file="devices.json")
    with pytest.raises(DataError, match=r"gone\.json is not readable JSON"):
        trace(5, rng(), file="gone.json")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"step_s": None}, "device 0: step_s is None, not a number"),
        ({"step_s": True}, "step_s is True"),
        ({"step_s": float("nan")}, "step_s is nan"),
        ({"step_s": -1}, "step_s of client 0 is -1; allowed: 0 to"),
        ({"dropout": 1}, "dropout of client 0 is 1"),
        ({"available": []}, "never comes"),
        ({"available": [[3, 2]]}, r"available has \[3, 2\]; windows ascend"),
        ({"available": [[0, 50], [40, 60]]}, "don't overlap"),
        ({"available": [[0, 101]]}, "end by period_s"),
        ({"available": [5]}, "available has 5"),
        ({"available": [[0, "x"]]}, "available is 'x', not a number"),
    ],
)
def test_what_no_device_can_be_is_named(change: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=told):
        listed({**DEVICE, **change}, period_s=100)


def test_windows_need_a_period() -> None:
    with pytest.raises(DataError, match="period_s is None, not a number"):
        listed({**DEVICE, "available": [[0, 50]]})
    with pytest.raises(DataError, match="period_s is -5; allowed"):
        listed({**DEVICE, "available": [[0, 50]]}, period_s=-5)
