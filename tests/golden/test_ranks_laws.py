"""Laws of several ranks: what is saved, what is drawn, and how all of them end together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nnray.config import Experiment
from nnray.metrics import MetricSums
from nnray.training.ranks import ALONE, Ranks
from tests.golden import ranks_work
from tests.golden.gloo import together
from tests.golden.ranks_work import CNN, experiment, train
from tests.golden.test_ranks import assert_close

FSDP = {"strategy": "fsdp", "workers": 2}
SHAPES = {
    "ddp": experiment(model=CNN, training__ema_decay=0.9),
    "fsdp": experiment(model=CNN, training__ema_decay=0.9, parallel=FSDP),
}


SCALINGS = ("none", "linear", "sqrt")
WAYS: dict[str, dict[str, Any]] = {
    "bf16": {"training__precision": "bf16"},
    "fp16": {"training__precision": "fp16", "training__max_grad_norm": 1.0},
    "compiled": {"training__compile": True},
    "fsdp, bf16": {"training__precision": "bf16", "parallel": FSDP},
    "fsdp, fp16": {"training__precision": "fp16", "training__max_grad_norm": 1.0, "parallel": FSDP},
    "batch norm of each rank": {"model": {**CNN, "norm": "batch"}},
    "augmentation": {"data__augment": [{"name": "mixup"}, {"name": "flip"}]},
    "channels last": {"training__channels_last": True, "model": CNN},
    "fsdp, muon": {"optimizer": {"name": "muon", "lr": 0.01}, "parallel": FSDP},
}


def scaled(scaling: str) -> Experiment:
    return experiment(parallel={"workers": 2, "batch": "per_worker", "lr_scaling": scaling})


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two ranks come to."""
    calls: dict[str, Any] = {
        "dropped": ("dropped", (experiment(),), {}),
        "dropped again": ("dropped", (experiment(),), {}),
        "progress": ("progress", (experiment(),), {}),
        **{f"early {name}": ("train", (made,), {"upto": 2}) for name, made in SHAPES.items()},
        **{f"diverging {name}": ("diverging", (made,), {}) for name, made in SHAPES.items()},
        **{f"scaled {name}": ("train", (scaled(name),), {}) for name in SCALINGS},
        **{
            f"way {name}": ("train", (experiment(**values, training__epochs=6),), {})
            for name, values in WAYS.items()
        },
    }
    return together(ranks_work.several, calls, size=2, folder=tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def three(two: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What three ranks come to, with what two have saved."""
    calls: dict[str, Any] = {
        "asked": ("asked", (), {}),
        **{name: ("resumed", (made, two[0][f"early {name}"][0]), {}) for name, made in SHAPES.items()},
    }
    return together(ranks_work.several, calls, size=3, folder=tmp_path_factory.mktemp("three"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("strategy", SHAPES)
def test_what_two_ranks_save_one_and_three_go_on_from(
    strategy: str, two: list[dict[str, Any]], three: list[dict[str, Any]]
) -> None:
    whole, told = train(ALONE, SHAPES[strategy])
    saved, early_told = two[0][f"early {strategy}"]
    assert_close(early_told, told[:2])
    for state, late_told in (ranks_work.resumed(ALONE, SHAPES[strategy], saved), three[0][strategy]):
        assert_close(state, whole)
        assert_close(late_told, told[2:])


@pytest.mark.parametrize("strategy", SHAPES)
def test_a_checkpoint_is_plain_tensors_that_load_without_unpickling(
    strategy: str, two: list[dict[str, Any]], tmp_path: Path
) -> None:
    saved = two[0][f"early {strategy}"][0]
    torch.save(saved, tmp_path / "state.pt")
    assert_close(torch.load(tmp_path / "state.pt", weights_only=True), saved)


def test_only_rank_0_gets_whole_tensors_of_a_model_that_is_cut(two: list[dict[str, Any]]) -> None:
    model = two[1]["early fsdp"][0]["model"]
    assert {model[name] for name in model if name.startswith("net.")} == {None}


@pytest.mark.parametrize("strategy", SHAPES)
def test_a_loss_that_is_not_finite_on_one_rank_ends_all_alike(
    strategy: str, two: list[dict[str, Any]]
) -> None:
    expected = ranks_work.diverging(ALONE, SHAPES[strategy])
    assert expected.startswith("DivergedError(1, ")
    assert [found[f"diverging {strategy}"] for found in two] == [expected] * 2


@pytest.mark.parametrize("how", ["dies", "hangs"])
def test_a_rank_that_is_lost_is_named_by_those_that_are_left(how: str, tmp_path: Path) -> None:
    found = together(
        ranks_work.losing, experiment(), size=3, folder=tmp_path, lost=1, how=how, timeout_s=10.0
    )
    assert found[1] is None
    for rank in (0, 2):
        assert f"rank 1 of 3 doesn't answer, as seen by rank {rank} (limit 10 s)" in found[rank]
        assert "parallel.timeout_s" in found[rank]


def test_each_rank_drops_units_of_its_own_the_same_in_every_run(two: list[dict[str, Any]]) -> None:
    assert two[0]["dropped"] != two[1]["dropped"]
    assert [found["dropped again"] for found in two] == [found["dropped"] for found in two]


def test_ranks_add_up_agree_and_keep_step(three: list[dict[str, Any]]) -> None:
    for rank, found in enumerate(each["asked"] for each in three):
        assert found["reduced"] == MetricSums({"loss": np.asarray(4.0)}, 2)
        assert found["lowest"] == 8
        assert found["any"] == (True, False, True)
        assert found["sum"] == [3.0, 3.0]
        assert found["broadcast"] == [0.0, 0.0]
        assert found["steps"] == [1] * (rank + 1) + [0] * (2 - rank)


def test_one_alone_asks_nobody() -> None:
    sums = MetricSums({"loss": np.asarray(1.0)}, 2)
    assert ALONE.reduce(sums) is sums
    assert (ALONE.any(True), ALONE.any(False), ALONE.lowest(3), ALONE.path) == (True, False, 3, ())
    ALONE.barrier()
    with pytest.raises(RuntimeError, match="gloo"), ALONE.watched():
        raise RuntimeError("gloo")


def test_an_error_of_the_model_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), Ranks(0, 2).watched():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_examples_count_once_over_all_ranks(two: list[dict[str, Any]]) -> None:
    heard, metrics, steps = two[0]["progress"]
    alone, _, alone_steps = ranks_work.progress(ALONE, experiment())
    assert [p.examples for p in heard] == [p.examples for p in alone] == [83]
    assert steps == alone_steps == 6
    others = two[1]["progress"][1]
    assert all(metrics[name] == others[name] for name in metrics.keys() - set(ranks_work.TIMED))


@pytest.mark.parametrize("scaling", SCALINGS)
def test_batches_by_worker_are_larger_ones_at_a_scaled_rate(scaling: str, two: list[dict[str, Any]]) -> None:
    """The oracle: one process with batches twice as large, and the rate multiplied by hand."""
    factor = {"none": 1.0, "linear": 2.0, "sqrt": 2.0**0.5}[scaling]
    by_hand = experiment(training__batch_size=32, optimizer={"name": "adam", "lr": 0.01 * factor})
    assert_close(two[0][f"scaled {scaling}"], train(ALONE, by_hand))


@pytest.mark.parametrize("way", WAYS)
def test_other_ways_of_training_learn_and_all_ranks_agree(way: str, two: list[dict[str, Any]]) -> None:
    """Not to 1e-5: they round, or draw, differently on each rank."""
    (state, told), (other, other_told) = (found[f"way {way}"] for found in two)
    assert told == other_told
    assert told[-1]["val_loss"] < told[0]["val_loss"]
    if "fsdp" not in way:
        assert_close(state, other)
