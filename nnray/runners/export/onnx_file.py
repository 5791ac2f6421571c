"""ONNX: a graph that other runtimes execute, written by torch's own exporter and run by ONNX Runtime."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nnray.errors import ConfigError, Problem
from nnray.runners.export.order import Forward, Order, Written, tracing

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_OLDEST = 18
"""torch's exporter implements its operators for this version and newer ones."""


def write_onnx(order: Order, folder: Path) -> Written:
    """Write ``model.onnx``, with a free batch dimension, from ``inputs`` to ``logits``.

    Raises:
        ConfigError: A package is missing, or the version of the operators is not to be had.
        IncompatibleModel: The module can't be traced, or needs an operator that ONNX lacks.
    """
    require_packages()
    _check_opset(order.opset)
    path = folder / "model.onnx"
    with tracing("ONNX"):
        program = _program(order)
        program.model.metadata_props["nnray"] = json.dumps(order.facts)
        program.save(path)
        return Written((path,), _forward(path), program.model.opset_imports[""])


def require_packages() -> None:
    """See that what ONNX takes is installed.

    Raises:
        ConfigError: It is not; says how to install it.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        problem = f"onnx needs {', '.join(missing)}: pip install 'nnray[onnx]'"
        raise ConfigError("export", [Problem("format", problem)])


def _check_opset(opset: int | None) -> None:
    from onnx.defs import onnx_opset_version

    newest = onnx_opset_version()
    if opset is not None and not _OLDEST <= opset <= newest:
        problem = f"must be an integer from {_OLDEST} to {newest}, which this onnx knows (got {opset})"
        raise ConfigError("export", [Problem("opset", problem)])


def _program(order: Order) -> Any:
    with torch.no_grad():
        return torch.onnx.export(
            order.module,
            (order.example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["inputs"],
            output_names=["logits"],
            opset_version=order.opset,
            verbose=False,
        )


def _forward(path: Path) -> Forward:
    runtime = importlib.import_module("onnxruntime")  # it has no types
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def forward(inputs: Tensor) -> Tensor:
        (logits,) = session.run(["logits"], {"inputs": inputs.numpy()})
        return torch.from_numpy(logits)

    return forward
