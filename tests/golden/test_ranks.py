"""Several ranks against one process: the same weights and the same history, within 1e-5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from nnray.config import Experiment
from nnray.training.ranks import ALONE
from tests.golden import ranks_work
from tests.golden.gloo import together
from tests.golden.ranks_work import CNN, experiment, many

SGD = {"name": "sgd", "lr": 0.05, "momentum": 0.9}
CASES: Mapping[str, Experiment] = {
    "mlp": experiment(),
    "cnn": experiment(model=CNN),
    "cnn, accumulated": experiment(model=CNN, training__accumulate=3),
    "mlp, accumulated": experiment(training__accumulate=3),
    "more parts than a rank has examples": experiment(training__batch_size=4, training__accumulate=3),
    "bounded gradient": experiment(training__max_grad_norm=0.1),
    "l1": experiment(training__l1=0.01),
    "sgd": experiment(optimizer=SGD),
    "sgd, accumulated, bounded, l1": experiment(
        optimizer=SGD, training__accumulate=3, training__max_grad_norm=0.5, training__l1=0.01
    ),
    "average": experiment(training__ema_decay=0.9, model=CNN),
    "batches of one": experiment(training__batch_size=1, training__epochs=1),
    "muon": experiment(optimizer={"name": "muon", "lr": 0.01}),
    "plateau": experiment(schedule={"name": "plateau"}),
    "class in the middle of the whole": experiment(training__metric="val_f1_macro"),
    "synced batch norm": experiment(
        model={**CNN, "norm": "batch"}, parallel={"sync_batch_norm": True, "workers": 2}
    ),
    "synced batch norm, a rank without examples": experiment(
        # Not Adam: it makes steps of the noise in the gradient of a bias before a norm, which is 0.
        optimizer=SGD,
        model={"name": "mlp", "hidden": [12], "norm": "batch"},
        training__batch_size=41,
        parallel={"sync_batch_norm": True, "workers": 2},
    ),
}
SHARDED = {
    f"fsdp: {name}": experiment(parallel={"strategy": "fsdp", "workers": 2}, **values)
    for name, values in {
        "mlp": {},
        "cnn": {"model": CNN},
        "accumulated": {"training__accumulate": 3},
        "more parts than a rank has examples": {"training__batch_size": 4, "training__accumulate": 3},
        "bounded gradient": {"training__max_grad_norm": 0.1},
        "l1": {"training__l1": 0.01},
        "sgd": {"optimizer": SGD},
        "average": {"training__ema_decay": 0.9},
        "batches of one": {"training__batch_size": 1, "training__epochs": 1},
    }.items()
}
EVERY = {**CASES, **SHARDED}


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """What one process comes to."""
    threads = torch.get_num_threads()
    try:
        return many(ALONE, EVERY)
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return together(ranks_work.many, EVERY, size=2, folder=tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("name", EVERY)
def test_two_ranks_come_to_what_one_process_comes_to(
    name: str, whole: dict[str, Any], two: list[dict[str, Any]]
) -> None:
    (state, told), (expected, expected_told) = two[0][name], whole[name]
    assert_close(state, expected)
    assert_close(told, expected_told)
    assert two[1][name][1] == told


def assert_close(state: Any, expected: Any, path: str = "state") -> None:
    """The same tree: names, types and shapes, and numbers within 1e-5."""
    if isinstance(expected, dict):
        assert state.keys() == expected.keys(), path
        for key in expected.keys() - {"fused"}:
            assert_close(state[key], expected[key], f"{path}.{key}")
    elif isinstance(expected, torch.Tensor):
        assert type(state) is torch.Tensor, path
        torch.testing.assert_close(state, expected, rtol=1e-5, atol=1e-5, msg=lambda text: f"{path}: {text}")
    elif isinstance(expected, float):
        assert state == pytest.approx(expected, rel=1e-5, abs=1e-5, nan_ok=True), path
    elif isinstance(expected, list | tuple):
        assert len(state) == len(expected), path
        for number, (one, other) in enumerate(zip(state, expected, strict=True)):
            assert_close(one, other, f"{path}.{number}")
    else:
        assert state == expected, path
