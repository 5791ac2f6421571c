"""Ray Data reads what a plain loop reads, in that order, whoever holds the CPUs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import torch

from nnray.config import with_overrides
from nnray.data.splits import DataSplits
from nnray.data.stream import Streamed
from nnray.data.stream_batches import StreamBatches
from nnray.errors import DataError
from nnray.runners import stream as stream_module
from nnray.runners.cluster import Cluster
from nnray.runners.display import Quiet
from nnray.runners.folder import create
from nnray.runners.local import train as train_here
from nnray.runners.parallel import train as train_with_workers
from nnray.runners.stream import RayReader, streaming
from nnray.tracking import MemoryTracker
from tests.ray.conftest import make_experiment
from tests.unit.data.streams import SHAPE, streamed_splits, write_csv, write_parquet

pytestmark = pytest.mark.ray
TIMED = ("samples_per_s", "epoch_seconds")


@pytest.fixture
def split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Streamed:
    """A small set; a read brings a few KiB, so that there are many."""
    monkeypatch.setattr(stream_module, "_TASK_BYTES", 5000)
    write_parquet(tmp_path / "data")
    train = streamed_splits(tmp_path / "data").train
    assert isinstance(train, Streamed)
    return train


def batches(streamed: Streamed, **options: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    made = StreamBatches(streamed, batch_size=32, seed=3, shuffle=True, **options)
    return list(made.epoch(1))


def same(
    one: list[tuple[torch.Tensor, torch.Tensor]], other: list[tuple[torch.Tensor, torch.Tensor]]
) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("readers", [1, 3])
def test_batches_are_those_of_a_plain_loop(cluster: Cluster, split: Streamed, readers: int) -> None:
    assert same(batches(replace(split, reader=RayReader(readers))), batches(split))


def test_a_rank_reads_its_part(cluster: Cluster, split: Streamed) -> None:
    parts = [batches(replace(split, reader=RayReader(1)), rank=rank, num_ranks=2) for rank in range(2)]
    whole = [(torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]])) for a, b in zip(*parts, strict=True)]
    assert same(whole, batches(split))


def test_statistics_are_those_of_a_plain_loop(cluster: Cluster, tmp_path: Path) -> None:
    write_csv(tmp_path / "data")

    def prepared(**options: RayReader) -> DataSplits:
        return streamed_splits(tmp_path / "data", kind="csv", **options)

    assert prepared(reader=RayReader(2)).info.digest == prepared().info.digest


@ray.remote
class Holder:
    """Holds CPUs, as a trainer does."""

    def here(self) -> bool:
        return True


@pytest.fixture
def no_cpu_left(cluster: Cluster) -> Iterator[None]:
    cpus = ray.cluster_resources()["CPU"]
    holder = Holder.options(num_cpus=cpus).remote()  # type: ignore[attr-defined]
    assert ray.get(holder.here.remote(), timeout=300)
    yield
    ray.kill(holder)


def test_reads_need_no_cpu_that_trainers_hold(no_cpu_left: None, split: Streamed) -> None:
    assert same(batches(replace(split, reader=RayReader(2))), batches(split))


def test_a_file_that_is_gone_is_told_as_itself(cluster: Cluster, split: Streamed, tmp_path: Path) -> None:
    (tmp_path / "data" / "1.parquet").unlink()
    with pytest.raises(DataError) as caught:
        batches(replace(split, reader=RayReader(1)))
    assert str(caught.value).startswith(f"{tmp_path}/data/1.parquet: not a readable Parquet file")
    assert "Traceback" not in str(caught.value)


def test_a_run_that_streams_is_the_run_that_reads_by_itself(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path / "data")
    data = {"name": "parquet", "root": str(tmp_path / "data"), "shape": SHAPE, "stream": True}
    experiment = make_experiment(sweep={}, data=data, training={"epochs": 2, "threads": 1})
    hashes = []
    for plain in (False, True):
        if plain:
            monkeypatch.setattr(stream_module.RayReader, "__call__", _plainly)
        tracker = MemoryTracker()
        result = train_here(experiment, create(experiment, "train"), tracker=tracker, display=Quiet())
        tracker.close()
        assert result.metrics["samples_per_s"] > 0
        assert "test_accuracy" in result.metrics
        hashes.append(result.model_sha256)
    assert hashes[0] == hashes[1]


def _plainly(reader: RayReader, streamed: Streamed, pieces: object) -> object:
    return stream_module.read_here(streamed, pieces)  # type: ignore[arg-type]


def test_only_a_stream_starts_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "Cluster", None)
    with streaming(make_experiment(sweep={})) as reader:
        assert reader is stream_module.read_here


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # Ray Train's own
def test_two_workers_that_stream_come_to_what_one_process_comes_to(cluster: Cluster, tmp_path: Path) -> None:
    """Each reads its part; the batches together, and so the metrics, are those of one."""
    write_parquet(tmp_path / "data")
    data = {"name": "parquet", "root": str(tmp_path / "data"), "shape": SHAPE, "stream": True}
    plain = make_experiment(sweep={}, data=data, training={"epochs": 2, "threads": 1, "batch_size": 32})
    rows = []
    for experiment, train in (
        (plain, train_here),
        (with_overrides(plain, {"parallel.workers": 2}), train_with_workers),
    ):
        folder, tracker = create(experiment, "train"), MemoryTracker()
        train(experiment, folder, tracker=tracker, display=Quiet())
        tracker.close()
        found = tracker.runs[folder.name].rows
        rows.append({(row.key, row.step): row.value for row in found if row.key not in TIMED})
    assert rows[1] == pytest.approx(rows[0], rel=1e-4, abs=1e-5)
