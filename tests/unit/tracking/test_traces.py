"""A graph traced once serves all models that have it, and no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nnray.tracking import model_files
from nnray.tracking.client import prepare
from nnray.tracking.model_files import GRAPH, save_model
from nnray.tracking.traces import Trace, Traces, structure

EXAMPLE = np.random.default_rng(0).random((2, 1, 8, 8), dtype=np.float32)


@pytest.fixture(autouse=True)
def traced(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The modules that were traced, and no trace from other tests."""
    prepare()
    seen: list[nn.Module] = []
    export = model_files._export

    def watched(module: nn.Module, example: Any, folder: Path) -> None:
        seen.append(module)
        export(module, example, folder)

    monkeypatch.setattr(model_files, "_export", watched)
    monkeypatch.setattr(model_files, "_traces", Traces())
    return seen


def net(*, width: int = 4, dropout: float = 0.5, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(36 * width, 10)).eval()


def answers(folder: Path, batch: int) -> torch.Tensor:
    written = torch.export.load(folder / GRAPH).module()
    answer: torch.Tensor = written(inputs(batch))
    return answer


def inputs(batch: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).random((batch, 1, 8, 8), dtype=np.float32))


def check(module: nn.Module, folder: Path) -> None:
    for batch in (1, 2, 7):
        with torch.no_grad():
            torch.testing.assert_close(answers(folder, batch), module(inputs(batch)))


def test_models_that_differ_in_weights_and_dropout_share_a_trace(
    tmp_path: Path, traced: list[nn.Module]
) -> None:
    for seed in range(3):
        module = net(dropout=seed / 10, seed=seed)
        module[1].running_mean += seed  # type: ignore[operator, union-attr]
        save_model(module, EXAMPLE, folder=tmp_path / str(seed))
        check(module, tmp_path / str(seed))
    assert len(traced) == 1


def test_all_files_are_there_however_it_was_written(tmp_path: Path) -> None:
    import mlflow

    for seed in range(2):
        save_model(net(seed=seed), EXAMPLE, folder=tmp_path / str(seed))
    first, second = (
        {path.relative_to(tmp_path / str(n)) for path in (tmp_path / str(n)).rglob("*")} for n in (0, 1)
    )
    assert first == second
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "1"))
    np.testing.assert_allclose(
        loaded.predict(EXAMPLE), net(seed=1)(torch.from_numpy(EXAMPLE)).detach(), rtol=1e-4, atol=1e-5
    )


def test_another_width_is_another_trace(tmp_path: Path, traced: list[nn.Module]) -> None:
    for width in (4, 8, 4):
        module = net(width=width)
        save_model(module, EXAMPLE, folder=tmp_path / str(width))
        check(module, tmp_path / str(width))
    assert len(traced) == 2


class Scaled(nn.Module):
    """With a number that stands in the graph."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Linear(64, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.head(images.flatten(1)) * self.scale
        return answer


def test_a_plain_attribute_is_part_of_the_structure(tmp_path: Path, traced: list[nn.Module]) -> None:
    for scale in (1.0, 3.0):
        module = Scaled(scale).eval()
        save_model(module, EXAMPLE, folder=tmp_path / str(scale))
        check(module, tmp_path / str(scale))
    assert len(traced) == 2


def hidden(scale: float) -> nn.Module:
    """With a number that no attribute shows."""

    class Hidden(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1) * SCALES[-1]

    SCALES.append(scale)
    return made.setdefault("class", Hidden)().eval()


SCALES: list[float] = []
made: dict[str, Callable[[], nn.Module]] = {}


def test_a_trace_that_does_not_hold_is_found_out(tmp_path: Path, traced: list[nn.Module]) -> None:
    for scale in (1.0, 3.0):
        module = hidden(scale)
        save_model(module, EXAMPLE, folder=tmp_path / str(scale))
        check(module, tmp_path / str(scale))
    assert len(traced) == 2


def test_the_oldest_traces_are_forgotten(tmp_path: Path) -> None:
    save_model(net(), EXAMPLE, folder=tmp_path / "model")
    traces, trace = Traces(), Trace.read(tmp_path / "model", GRAPH)
    for number in range(9):
        traces.put(number, trace)
        traces.get(0)
    assert traces.get(0) is trace
    assert traces.get(1) is None
    traces.drop(0)
    assert traces.get(0) is None


def test_another_example_is_another_structure() -> None:
    assert structure(net(), EXAMPLE) == structure(net(seed=5, dropout=0.1), EXAMPLE)
    assert structure(net(), EXAMPLE) != structure(net(), EXAMPLE + 1)
    assert structure(net(), EXAMPLE) != structure(net(), EXAMPLE[:1])
