"""What is written gives what the model gives, at any batch size; what can't be written is said in words."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnray.assembly import build_model
from nnray.assembly.described import about
from nnray.config import parse
from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, IncompatibleModel
from nnray.runners.export.onnx_file import write_onnx
from nnray.runners.export.order import Order, Writer
from nnray.runners.export.torch_files import write_graph, write_weights
from nnray.runners.export.verify import BATCHES, differences, inputs_like

WRITERS: dict[str, Writer] = {"graph": write_graph, "onnx": write_onnx, "weights": write_weights}
TABLE = DataInfo(
    "table", (5,), ("a", "b", "c"), mean=(1.0,) * 5, std=(3.0,) * 5, missing=True, digest="0" * 64
)
IMAGES = DataInfo("images", (1, 12, 12), ("a", "b"), mean=(0.4,), std=(0.2,), digest="0" * 64)
MODELS: dict[str, tuple[dict[str, Any], DataInfo]] = {
    "mlp": ({"name": "mlp", "hidden": [8]}, TABLE),
    "cnn": ({"name": "cnn", "channels": [4, 8], "hidden": 8}, IMAGES),
    "resnet": ({"name": "resnet", "depth": 20}, replace(IMAGES, input_shape=(3, 32, 32))),
}
FACTS = {"classes": ["a", "b"], "model_sha256": "abc"}


def order(name: str, *, opset: int | None = None) -> tuple[Order, DataInfo]:
    model, info = MODELS[name]
    if len(info.input_shape) == 3:
        info = replace(info, mean=(0.4,) * info.input_shape[0], std=(0.2,) * info.input_shape[0])
    experiment = parse({"name": "x", "data": {"name": "digits"}, "model": model}, source="test")
    module = build_model(experiment, info).eval()
    return Order(module, inputs_like(info, 2), about(experiment, info), FACTS, opset), info


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("form", WRITERS)
def test_what_is_written_gives_the_same_at_any_batch_size(form: str, model: str, tmp_path: Path) -> None:
    asked, info = order(model)
    written = WRITERS[form](asked, tmp_path)
    assert set(tmp_path.iterdir()) == set(written.files)
    found = differences(asked.module, written.forward, info=info, method=form)
    assert found.keys() == set(BATCHES)
    assert max(found.values()) == 0 if form == "weights" else max(found.values()) < 1e-4


def test_weights_are_the_canonical_bytes(tmp_path: Path) -> None:
    from nnray.training.weights import weights_safetensors

    asked, _ = order("mlp")
    written = write_weights(asked, tmp_path)
    assert written.files[0].read_bytes() == weights_safetensors(asked.module)


def test_onnx_says_what_it_is_and_lets_the_batch_be_free(tmp_path: Path) -> None:
    import onnx

    asked, info = order("mlp", opset=19)
    written = write_onnx(asked, tmp_path)
    loaded = onnx.load(written.files[0])
    onnx.checker.check_model(loaded)
    assert written.opset == 19
    assert [(each.domain, each.version) for each in loaded.opset_import] == [("", 19)]
    (inputs,), (outputs,) = loaded.graph.input, loaded.graph.output
    assert (inputs.name, outputs.name) == ("inputs", "logits")
    batch, features = inputs.type.tensor_type.shape.dim
    assert (batch.dim_param, features.dim_value) == ("batch", info.input_shape[0])
    assert json.loads({p.key: p.value for p in loaded.metadata_props}["nnray"]) == FACTS


def test_a_graph_says_what_it_is(tmp_path: Path) -> None:
    written = write_graph(order("mlp")[0], tmp_path)
    read = {"nnray.json": ""}
    torch.export.load(written.files[0], extra_files=read)
    assert json.loads(read["nnray.json"]) == FACTS


class _Branches(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs[:, :3] if bool(inputs.sum() > 0) else inputs[:, 1:4]


class _KnowsTheBatch(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs[:, :3] * len(inputs) if len(inputs) == 2 else inputs[:, :3]


@pytest.mark.parametrize("form", ["graph", "onnx"])
@pytest.mark.parametrize("module", [_Branches(), _KnowsTheBatch()])
def test_a_module_that_can_not_be_traced_is_named(form: str, module: nn.Module, tmp_path: Path) -> None:
    asked = Order(module, torch.rand(2, 5), {}, {})
    with pytest.raises(
        IncompatibleModel, match=r"can't handle 1 module\(s\):\n  \w+: .*\nExport as safetensors"
    ):
        WRITERS[form](asked, tmp_path)


@pytest.mark.parametrize("opset", [0, 17, 10_000])
def test_an_opset_that_is_not_to_be_had_is_refused(opset: int, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=rf"export: opset: must be an integer from 18 to \d+, .*got {opset}"
    ):
        write_onnx(order("mlp", opset=opset)[0], tmp_path)


def test_missing_packages_are_named_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def without(name: str) -> Any:
        return None if name in ("onnx", "onnxruntime") else found(name)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(ConfigError, match=r"needs onnx, onnxruntime: pip install 'nnray\[onnx\]'"):
        write_onnx(order("mlp")[0], tmp_path)


def test_a_difference_is_found_and_named_with_the_batch() -> None:
    asked, info = order("mlp")

    def off(inputs: Tensor) -> Tensor:
        with torch.no_grad():
            return asked.module(inputs) + (0.01 if len(inputs) == 7 else 0)  # type: ignore[no-any-return]

    with pytest.raises(IncompatibleModel, match=r"differ by up to 0\.01.*batch of 7"):
        differences(asked.module, off, info=info, method="onnx")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda inputs: torch.full((len(inputs), 3), torch.nan), "differ by up to nan"),
        (lambda inputs: torch.zeros(len(inputs), 2), "differ by up to inf"),
        (lambda inputs: inputs.no_such_thing(), "can't be had: AttributeError"),
    ],
)
def test_what_is_no_answer_is_no_small_difference(given: Any, words: str) -> None:
    asked, info = order("mlp")
    with pytest.raises(IncompatibleModel, match=words):
        differences(asked.module, given, info=info, method="x")


def test_inputs_are_of_the_models_kind_and_the_same_each_time() -> None:
    pixels, numbers = inputs_like(IMAGES, 7), inputs_like(TABLE, 7)
    assert pixels.shape == (7, 1, 12, 12) and float(pixels.min()) >= 0 and float(pixels.max()) <= 1
    assert numbers.shape == (7, 5) and bool(numbers.isnan().any()) and not bool(numbers.isnan().all())
    assert torch.equal(pixels, inputs_like(IMAGES, 7))
