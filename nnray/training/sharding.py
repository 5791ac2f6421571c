"""A model cut among ranks (FSDP), and its state made whole again.

Every rank keeps a slice of each parameter, of its gradient and of its moments; a block's parameters are
gathered for its forward and backward pass alone.

A checkpoint doesn't show any of it: it holds whole tensors under the names that they have without ranks,
so that one written by two ranks loads in one or in four.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from nnray.training.ranks import Ranks


def shard(model: nn.Module, ranks: Ranks, *, device: torch.device) -> None:
    """Cut a model's parameters among the ranks; in place, block by block.

    Args:
        model: On the device, the same on every rank.
        ranks: More than one.
        device: Where the model is.

    Source:
        Zhao et al., "PyTorch FSDP", 2023; torch's ``fully_shard``.
    """
    mesh = DeviceMesh.from_group(ranks.group, device.type)
    uses = Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    for block in _blocks(model):
        if all(uses[id(p)] == 1 for p in block.parameters()):
            fully_shard(block, mesh=mesh, reshard_after_forward=True)
    fully_shard(model, mesh=mesh, reshard_after_forward=True)


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The parts of a model that are gathered one at a time: layers, or stages of layers."""
    for child in model.children():
        is_container = isinstance(child, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        if is_container or len(list(model.children())) == 1:
            yield from _blocks(child)
        elif any(True for _ in child.parameters()):
            yield child


def gathered(tree: Any, *, keep: bool) -> Any:
    """Plain containers with every cut tensor made whole, on the CPU; each rank calls this.

    Args:
        tree: Mappings, lists and values.
        keep: Whether this rank wants them; None stands for them on the others.
    """
    if isinstance(tree, DTensor):
        whole = tree.full_tensor()
        return whole.detach().cpu() if keep else None
    if isinstance(tree, Mapping):
        return {key: gathered(value, keep=keep) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(gathered(value, keep=keep) for value in tree)
    return tree


def scattered(saved: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors of a state dict cut as those of the same name in ``like``; nothing is sent."""
    return {name: _cut(value, like.get(name)) for name, value in saved.items()}


def scattered_moments(saved: Mapping[str, Any], groups: list[dict[str, Any]]) -> dict[str, Any]:
    """An optimizer's state with the moments cut as their parameters are.

    Args:
        saved: Its state dict, whole.
        groups: The optimizer's parameter groups.
    """
    parameters = [p for group in groups for p in group["params"]]
    order = [number for group in saved["param_groups"] for number in group["params"]]
    owner = dict(zip(order, parameters, strict=True))
    state = {
        number: {name: _cut(value, owner[number]) for name, value in moments.items()}
        for number, moments in saved["state"].items()
    }
    return {**saved, "state": state}


def _cut(value: Any, like: Any) -> Any:
    if not isinstance(like, DTensor) or not isinstance(value, torch.Tensor) or isinstance(value, DTensor):
        return value
    if value.shape != like.shape:
        return value
    whole = value.to(like.device)
    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None)
