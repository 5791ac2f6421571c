"""One pass gives what two give, however the data were cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnray.data.statistics import moments
from nnray.data.stream_moments import RunningMoments


def in_blocks(inputs: np.ndarray, *, size: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    running = RunningMoments(inputs.shape[1:], byte=inputs.dtype == np.uint8)
    for begin in range(0, len(inputs), size):
        running.add(inputs[begin : begin + size])
    return running.finish()


@given(st.integers(1, 40), st.integers(1, 60), st.sampled_from(["bytes", "floats", "vectors"]))
def test_the_cuts_change_nothing(size: int, count: int, kind: str) -> None:
    rng = np.random.default_rng(count)
    inputs = {
        "bytes": rng.integers(0, 256, (count, 3, 2, 2), dtype=np.uint8),
        "floats": rng.random((count, 3, 2, 2), dtype=np.float32),
        "vectors": rng.normal(1000, 1, (count, 4)).astype(np.float32),
    }[kind]
    for got, expected in zip(in_blocks(inputs, size=size), moments(torch.from_numpy(inputs)), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_a_constant_channel_has_deviation_1() -> None:
    inputs = np.full((10, 2, 3, 3), 7, dtype=np.uint8)
    mean, std = in_blocks(inputs, size=3)
    assert mean == pytest.approx([7 / 255] * 2)
    assert std == (1.0, 1.0)


def test_a_block_that_can_not_be_written_is_taken() -> None:
    inputs = np.ones((4, 2), dtype=np.float32)
    inputs.flags.writeable = False
    assert in_blocks(inputs, size=2)[0] == (1.0, 1.0)
