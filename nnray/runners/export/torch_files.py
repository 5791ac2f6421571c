"""Formats of torch: a traced graph that needs no nnray, and the weights with what it takes to rebuild."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from nnray.assembly.described import ABOUT, WEIGHTS, model_files, read_about
from nnray.assembly.rebuilt import module_of
from nnray.runners.export.order import Forward, Order, Written, tracing
from nnray.training.weights import weights_safetensors


def write_graph(order: Order, folder: Path) -> Written:
    """Write ``model.pt2``, for ``torch.export.load``, with a free batch dimension.

    Raises:
        IncompatibleModel: The module can't be traced.
    """
    path = folder / "model.pt2"
    facts = {ABOUT: json.dumps(order.facts)}
    with tracing("torch.export"), torch.no_grad():
        batch = torch.export.Dim("batch")
        program = torch.export.export(order.module, (order.example,), dynamic_shapes=({0: batch},))
        torch.export.save(program, path, extra_files=facts)
    return Written((path,), _forward(torch.export.load(path).module()))


def write_weights(order: Order, folder: Path) -> Written:
    """Write ``weights.safetensors`` and ``nnray.json``: a folder that every verb takes as a model."""
    for name, content in model_files(weights_safetensors(order.module), order.about).items():
        (folder / name).write_bytes(content)
    weights, about = folder / WEIGHTS, folder / ABOUT
    described = read_about(about.read_bytes(), where=str(about))
    return Written((weights, about), _forward(module_of(described, weights.read_bytes())))


def _forward(module: nn.Module) -> Forward:
    def forward(inputs: Tensor) -> Tensor:
        with torch.no_grad():
            outputs: Tensor = module(inputs)
        return outputs

    return forward
