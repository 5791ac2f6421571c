"""An experiment whose data stream is assembled as any other, or is told why it can't be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nnray.assembly import assemble, evaluation_batches, load_data
from nnray.config import Experiment, parse
from nnray.data.stream_batches import StreamBatches
from nnray.errors import ConfigError
from nnray.training.ranks import Ranks
from tests.unit.data.streams import SHAPE, write_parquet


def experiment(**data: Any) -> Experiment:
    return parse(
        {"name": "s", "data": {"stream": True, **data}, "model": "mlp", "training": {"batch_size": 16}}
    )


def test_a_stream_is_assembled_with_its_buffer(tmp_path: Path) -> None:
    write_parquet(tmp_path)
    built = assemble(experiment(name="parquet", root=str(tmp_path), shape=SHAPE, buffer_mib=7))
    assert isinstance(built.train, StreamBatches)
    assert isinstance(built.val, StreamBatches)
    assert built.splits.train.buffer_bytes == 7 << 20
    assert built.evaluate(built.state).count == len(built.splits.val)


def test_ranks_share_the_measuring(tmp_path: Path) -> None:
    write_parquet(tmp_path)
    made = experiment(name="parquet", root=str(tmp_path), shape=SHAPE)
    splits = load_data(made)
    parts = [
        evaluation_batches(made, splits.val, device="cpu", ranks=Ranks(rank=rank, size=3)).epoch(0)
        for rank in range(3)
    ]
    assert sum(len(targets) for part in parts for _, targets in part) == len(splits.val)


def test_a_set_that_is_read_as_a_whole_is_told() -> None:
    with pytest.raises(ConfigError, match=r"data\.stream: digits is read as a whole"):
        load_data(experiment(name="digits"))
