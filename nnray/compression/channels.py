"""Pruning whole channels and units: layers get smaller, and faster on any machine."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nnray.compression.channel_groups import Group, Use
from nnray.compression.compressor import Compressed, Compressor
from nnray.compression.dependencies import channel_groups
from nnray.compression.layers import watch_inputs
from nnray.compression.resize import resize, sizes
from nnray.errors import IncompatibleModel
from nnray.fields import Probability


def channels(*, share: Probability = 0.5) -> Compressor:
    """Take out channels of convolutions and units of linear layers, with all that depends on them.

    The same share goes of each group of channels that depend on each other, and one channel always stays. The
    channels that go are those that add least to what the next layers compute: the squared norm of the weights
    that read a channel, times its mean square over the examples.

    Args:
        share: Of the channels of each group.

    Raises:
        IncompatibleModel: There are none that can go.

    Source:
        Fang et al. 2023 (groups); Sun et al. 2024, "A Simple and Effective Pruning Approach for Large
        Language Models", equation 1 (weights times activations), here summed over a channel.
    """

    def compress(module: nn.Module, inputs: Tensor) -> Compressed:
        groups = channel_groups(module, inputs)
        free = [group for group in groups if not group.reason]
        if not free:
            why = _reasons(groups) or [f"{type(module).__name__}: no layer makes channels for another"]
            raise IncompatibleModel("channels", why, "use magnitude, low_rank or int8 instead")
        worth = _worth(module, free, inputs)
        kept = [_kept(group, score, share) for group, score in zip(free, worth, strict=True)]
        sides = _sides(module, free, kept)
        pruned = copy.deepcopy(module)
        for name, layer_sides in sides.items():
            resize(pruned.get_submodule(name), layer_sides)
        layers = {name: sizes(layer_sides) for name, layer_sides in sides.items()}
        step = {"step": "resize", "method": "channels", "share": share, "layers": layers}
        notes = [f"channels stay: {reason}" for reason in _reasons(groups)]
        return Compressed(pruned, [step] if layers else [], notes)

    return compress


def _reasons(groups: Sequence[Group]) -> list[str]:
    """Why layers' outputs stay; the network's own inputs and outputs need no word."""
    found = []
    for group in groups:
        makers = [use.layer for use in group.uses if use.side == "outputs"]
        if group.reason and group.reason != "the network's outputs":
            found += [f"{maker}: {group.reason}" for maker in makers]
    return found


def _kept(group: Group, score: Tensor, share: float) -> list[int]:
    """The channels that stay, in their order; by blocks where channels go by several."""
    blocks = score.reshape(-1, group.block).sum(dim=1)
    count = max(1, len(blocks) - int(share * len(blocks) + 1e-9))
    best = blocks.argsort(descending=True, stable=True)[:count].sort().values
    return [int(b) * group.block + i for b in best for i in range(group.block)]


def _worth(module: nn.Module, groups: Sequence[Group], inputs: Tensor) -> list[Tensor]:
    """What each channel adds to the layers that read it, as a share of what all of the group add."""
    readers = [use.layer for group in groups for use in group.uses if use.side == "inputs"]
    squares = _mean_squares(module, readers, inputs)
    scores = []
    for group in groups:
        score = torch.zeros(group.size, dtype=torch.float64)
        for use in group.uses:
            if use.side == "inputs":
                layer = module.get_submodule(use.layer)
                score += _share_of_reader(layer, use, group.size, squares[use.layer])
        scores.append(score)
    return scores


def _share_of_reader(layer: nn.Module, use: Use, size: int, squares: Tensor) -> Tensor:
    assert isinstance(layer, nn.Linear | nn.Conv2d), layer
    weights = layer.weight.detach().double().transpose(0, 1).flatten(1).square().sum(dim=1).cpu()
    part = (weights * squares)[use.offset : use.offset + size * use.repeat]
    by_channel = part.reshape(size, use.repeat).sum(dim=1)
    total = by_channel.sum()
    return by_channel / total if total > 0 else by_channel


def _mean_squares(module: nn.Module, names: Sequence[str], inputs: Tensor) -> Mapping[str, Tensor]:
    """Of the features that come into layers, over examples and positions."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = defaultdict(int)

    def add(name: str, given: Tensor) -> None:
        values = given.double().transpose(0, 1).flatten(1)
        found = values.square().sum(dim=1).cpu()
        sums[name] = sums[name] + found if name in sums else found
        counts[name] += values.shape[1]

    watch_inputs(module, inputs, names=sorted(set(names)), on_inputs=add)
    return {name: total / counts[name] for name, total in sums.items()}


def _sides(
    module: nn.Module, groups: Sequence[Group], kept: Sequence[Sequence[int]]
) -> dict[str, dict[str, Sequence[int]]]:
    """What stays of each side of each layer; sides that lose nothing are left out."""
    gone: dict[tuple[str, str], set[int]] = defaultdict(set)
    for group, numbers in zip(groups, kept, strict=True):
        lost = sorted(set(range(group.size)) - set(numbers))
        for use in group.uses:
            gone[use.layer, use.side] |= {
                use.offset + channel * use.repeat + i for channel in lost for i in range(use.repeat)
            }
    sides: dict[str, dict[str, Sequence[int]]] = {}
    for (name, side), lost_there in gone.items():
        if lost_there:
            width = _width(module.get_submodule(name), side)
            sides.setdefault(name, {})[side] = [i for i in range(width) if i not in lost_there]
    return {name: sides[name] for name in sorted(sides)}


def _width(layer: nn.Module, side: str) -> int:
    if isinstance(layer, nn.Linear | nn.Conv2d):
        return layer.weight.shape[1 if side == "inputs" else 0]
    if isinstance(layer, nn.LayerNorm):
        return layer.normalized_shape[0]
    assert isinstance(layer, nn.GroupNorm | _BatchNorm), layer
    return layer.num_channels if isinstance(layer, nn.GroupNorm) else layer.num_features
