"""Checkpoints are written beside training, in order, and no error is lost."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from nnray.training.writer import Writer, snapshot


def test_what_is_written_is_the_state_of_that_instant() -> None:
    state: dict[str, Any] = {
        "model": {"w": torch.zeros(3)},
        "list": [torch.zeros(1), 1],
        "step": 0,
        "none": None,
    }
    go, seen = threading.Event(), []

    def write(copy: Mapping[str, Any]) -> None:
        assert go.wait(60)
        seen.append(copy)

    with Writer() as writer:
        writer.submit(write, state)
        state["model"]["w"] += 1
        state["list"][0] += 1
        state["step"] = 1
        go.set()
    assert seen[0]["step"] == 0
    assert float(seen[0]["model"]["w"].sum() + seen[0]["list"][0].sum()) == 0.0


def test_training_goes_on_while_it_is_written() -> None:
    went_on = threading.Event()
    with Writer() as writer:
        writer.submit(lambda state: _need(went_on.wait(60)), {})
        went_on.set()


def test_the_next_one_waits_for_the_last_and_order_is_kept() -> None:
    seen: list[int] = []
    with Writer() as writer:
        for number in range(20):
            writer.submit(lambda state: seen.append(state["number"]), {"number": number})
            assert len(seen) >= number
    assert seen == list(range(20))


def _fail(state: Mapping[str, Any]) -> None:
    raise OSError("no room")


def test_an_error_comes_at_the_end() -> None:
    with pytest.raises(OSError, match="no room"), Writer() as writer:
        writer.submit(_fail, {})


def test_an_error_comes_with_the_next_write() -> None:
    with Writer() as writer:
        writer.submit(_fail, {})
        with pytest.raises(OSError, match="no room"):
            writer.submit(lambda state: None, {})


def test_an_error_of_the_block_is_not_hidden_by_one_of_a_write() -> None:
    def both() -> None:
        with Writer() as writer:
            writer.submit(_fail, {})
            raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        both()


def test_a_snapshot_has_the_same_values() -> None:
    state: dict[str, Any] = {"a": torch.arange(4.0), "b": (1, [torch.ones(2)]), "c": "x"}
    found = snapshot(state)
    assert torch.equal(found["a"], state["a"])
    assert found["b"][0] == 1
    assert found["a"].data_ptr() != state["a"].data_ptr()
    assert found["c"] == "x"


def _need(value: Any) -> None:
    assert value
