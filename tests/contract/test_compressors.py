"""Laws that every compressor of the catalog obeys, on every kind of network that it can take."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnray.catalog import CATALOG
from nnray.compression.compressor import Compressed
from nnray.compression.layers import weighty_layers
from nnray.compression.structure import apply
from nnray.models.preprocess import Preprocessed
from nnray.registry import build, parameters
from tests.contract.test_models import info_of, inputs, make

COMPRESSORS = sorted(CATALOG["compressor"])
SHAPE = (1, 8, 8)
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "mlp": ("mlp", {"hidden": (24, 16), "norm": "batch", "dropout": 0.2}),
    "cnn": ("cnn", {"channels": (8, 12), "hidden": 16}),
    "group norm": ("cnn", {"channels": (64, 64), "hidden": 16, "norm": "group"}),
    "average": ("lenet", {"pooling": "average", "activation": "tanh"}),
    "padded": ("cifar_cnn", {"channels": (8, 8, 8), "hidden": 16, "norm": "batch"}),
    "residual": ("resnet", {"depth": 20, "width": 8}),
    "shuffled": ("torchvision", {"arch": "shufflenet_v2_x0_5"}),
    "depthwise": ("torchvision", {"arch": "mobilenet_v3_small"}),
}
FAST = [name for name in NETWORKS if name not in ("shuffled", "depthwise")]
# What leaves a network as it is, and what changes it well.
NOTHING: dict[str, dict[str, Any]] = {
    "magnitude": {"sparsity": 0.0},
    "channels": {"share": 0.0},
    "low_rank": {"energy": 1.0},
    "distill": {},
}
STRONG: list[dict[str, Any]] = [
    {"name": "magnitude", "sparsity": 0.7},
    {"name": "magnitude", "sparsity": 0.7, "scope": "layer"},
    {"name": "channels", "share": 0.5},
    {"name": "low_rank", "energy": 0.5},
    {"name": "int8"},
    {"name": "int8", "activations": "static"},
]


def shown(method: dict[str, Any]) -> str:
    return " ".join(map(str, method.values()))


def network(name: str) -> Preprocessed:
    """A network whose norms have seen something, so that nothing of it is at its default."""
    model, options = NETWORKS[name]
    made = make(model, info_of(SHAPE), **options).train()
    with torch.no_grad():
        for part in inputs(SHAPE, 64).split(16):
            made(part)
        for layer in made.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm):
                layer.weight.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(1))
                layer.bias.normal_(generator=torch.Generator().manual_seed(2))
    return made.eval()


def compressed(name: str, method: dict[str, Any]) -> tuple[Preprocessed, Compressed]:
    before = network(name)
    made: Compressed = build("compressor", method)(before, inputs(SHAPE, 32))
    return before, made


def outputs(module: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        made: Tensor = module(x)
    return made


def test_every_compressor_is_tried_here() -> None:
    assert {method["name"] for method in STRONG} | NOTHING.keys() == set(COMPRESSORS)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", STRONG, ids=shown)
def test_a_recipe_and_weights_give_the_same_outputs_bit_for_bit(name: str, method: dict[str, Any]) -> None:
    before, made = compressed(name, method)
    fresh: nn.Module = make(NETWORKS[name][0], info_of(SHAPE), **NETWORKS[name][1]).eval()
    for step in json.loads(json.dumps(list(made.steps))):
        fresh = apply(fresh, step)
    fresh.load_state_dict(made.module.state_dict(), strict=True)
    x = inputs(SHAPE, 7)
    assert torch.equal(outputs(fresh, x), outputs(made.module, x))
    assert outputs(made.module, x).shape == outputs(before, x).shape
    assert not torch.equal(outputs(made.module, x), outputs(before, x))


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("method", NOTHING)
def test_no_strength_changes_nothing(name: str, method: str) -> None:
    before, made = compressed(name, {"name": method, **NOTHING[method]})
    after = made.module.state_dict()
    assert after.keys() == before.state_dict().keys()
    assert all(torch.equal(value, after[key]) for key, value in before.state_dict().items())
    assert torch.equal(outputs(made.module, inputs(SHAPE, 5)), outputs(before, inputs(SHAPE, 5)))


@pytest.mark.parametrize("method", STRONG, ids=shown)
def test_what_goes_in_stays_as_it_was(method: dict[str, Any]) -> None:
    before = network("residual")
    copied = copy.deepcopy(before.state_dict())
    made = build("compressor", method)(before, inputs(SHAPE, 16)).module
    with torch.no_grad():
        for value in (*made.parameters(), *made.buffers()):
            value.zero_()
    assert all(torch.equal(value, copied[key]) for key, value in before.state_dict().items())


@pytest.mark.parametrize("method", STRONG, ids=shown)
def test_the_same_again_gives_the_same(method: dict[str, Any]) -> None:
    (_, one), (_, other) = compressed("cnn", method), compressed("cnn", method)
    assert one.steps == other.steps
    values = other.module.state_dict()
    assert all(torch.equal(value, values[key]) for key, value in one.module.state_dict().items())


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("method", STRONG, ids=shown)
def test_each_example_is_answered_by_itself(name: str, method: dict[str, Any]) -> None:
    _, made = compressed(name, method)
    x = inputs(SHAPE, 6)
    x[0] *= 100  # an example that would set the scale of all, if there were one
    one_by_one = torch.cat([outputs(made.module, part) for part in x.split(1)])
    torch.testing.assert_close(outputs(made.module, x), one_by_one, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("method", STRONG, ids=shown)
def test_what_comes_out_exports_with_any_batch(name: str, method: dict[str, Any]) -> None:
    _, made = compressed(name, method)
    batch = torch.export.Dim("batch")
    program = torch.export.export(made.module, (inputs(SHAPE, 2),), dynamic_shapes=({0: batch},)).module()
    for size in (1, 5):
        x = inputs(SHAPE, size)
        torch.testing.assert_close(outputs(program, x), outputs(made.module, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("sparsity", [0.0, 0.123, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("name", FAST)
def test_exactly_so_many_weights_are_zero(name: str, sparsity: float, scope: str) -> None:
    _, made = compressed(name, {"name": "magnitude", "sparsity": sparsity, "scope": scope})
    weights = [layer.weight.detach() for layer in weighty_layers(made.module).values()]
    parts = [torch.cat([w.flatten() for w in weights])] if scope == "global" else weights
    assert [int((p == 0).sum()) for p in parts] == [int(sparsity * p.numel() + 1e-9) for p in parts]


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_the_smallest_weights_go_and_the_others_stay_as_they_are(scope: str) -> None:
    before, made = compressed("cnn", {"name": "magnitude", "sparsity": 0.6, "scope": scope})
    old, new = (list(weighty_layers(module).values()) for module in (before, made.module))
    pairs = [
        (o.weight.detach().flatten(), n.weight.detach().flatten()) for o, n in zip(old, new, strict=True)
    ]
    if scope == "global":
        pairs = [(torch.cat([o for o, _ in pairs]), torch.cat([n for _, n in pairs]))]
    for values, left in pairs:
        kept = left != 0
        assert torch.equal(left[kept], values[kept])
        assert values[kept].abs().min() >= values[~kept].abs().max()


@pytest.mark.parametrize("name", NETWORKS)
def test_without_channels_a_network_is_one_that_does_not_read_them(name: str) -> None:
    """The oracle: the network as it was, the weights that read a lost channel set to zero."""
    before, made = compressed(name, {"name": "channels", "share": 0.4})
    blind = copy.deepcopy(before)
    _zero_lost_readers(blind, made.module)
    x = inputs(SHAPE, 9)
    torch.testing.assert_close(outputs(made.module, x), outputs(blind, x), rtol=1e-3, atol=1e-4)
    ratio = _count(made.module) / _count(before)
    assert ratio < 0.75, ratio


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _zero_lost_readers(blind: nn.Module, pruned: nn.Module) -> None:
    """Find what each layer still reads by its weights, and have the old one read no more than that."""
    for name, layer in weighty_layers(blind).items():
        left = pruned.get_submodule(name).weight
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            continue
        rows = _found(layer.weight.detach().flatten(1)[:, :], left.detach(), layer.weight.detach())
        with torch.no_grad():
            layer.weight[:, ~rows] = 0


def _found(flat: Tensor, left: Tensor, weight: Tensor) -> Tensor:
    """Which columns of a layer's weights are among those that are left, one after the other."""
    outputs_left = _subsequence(flat, left, weight)
    columns, kept = weight[outputs_left].transpose(0, 1).flatten(1), left.transpose(0, 1).flatten(1)
    found, position = torch.zeros(len(columns), dtype=torch.bool), 0
    for number, column in enumerate(columns):
        if position < len(kept) and torch.equal(column, kept[position]):
            found[number], position = True, position + 1
    assert position == len(kept), "a column is left that the layer never had"
    return found


def _subsequence(flat: Tensor, left: Tensor, weight: Tensor) -> Tensor:
    """Which outputs are left: those whose weights contain, as a set, all numbers of a row that is left."""
    sets = [set(row.tolist()) for row in flat]
    found, start = [], 0
    for row in left.flatten(1):
        wanted = set(row.tolist())
        start = next(i for i in range(start, len(sets)) if wanted <= sets[i])
        found.append(start)
        start += 1
    assert len(found) == len(left) <= len(weight)
    return torch.tensor(found)


@pytest.mark.parametrize("name", FAST)
def test_factors_multiply_to_the_nearest_matrix_of_their_rank(name: str) -> None:
    before, made = compressed(name, {"name": "low_rank", "energy": 0.7})
    assert made.steps
    for path, size in made.steps[0]["layers"].items():
        weight = before.get_submodule(path).weight.detach().flatten(1)
        pair = made.module.get_submodule(path)
        product = pair.second.weight.detach().flatten(1) @ pair.first.weight.detach().flatten(1)
        u, s, v = torch.linalg.svd(weight, full_matrices=False)
        rank = size["rank"]
        torch.testing.assert_close(product, (u[:, :rank] * s[:rank]) @ v[:rank], rtol=1e-3, atol=1e-4)
        kept = (s[:rank] ** 2).sum() / (s**2).sum()
        without = (s[: rank - 1] ** 2).sum() / (s**2).sum()
        assert without < 0.7 <= kept + 1e-6
    assert _count(made.module) < _count(before)


@pytest.mark.parametrize("activations", ["dynamic", "static"])
@pytest.mark.parametrize("name", FAST)
def test_integers_compute_what_rounded_numbers_would(name: str, activations: str) -> None:
    """The oracle: the same network in floats, each weight and each input replaced by the nearest step."""
    before, made = compressed(name, {"name": "int8", "activations": activations})
    rounded = copy.deepcopy(before).double()
    for path, layer in weighty_layers(rounded).items():
        integer = made.module.get_submodule(path)
        assert integer.weight.dtype == torch.int8
        by_output = integer.scale.double().reshape(-1, *[1] * (layer.weight.ndim - 1))
        error = (layer.weight.detach() - integer.weight * by_output).abs()
        assert (error <= by_output / 2 * 1.001).all(), path
        with torch.no_grad():
            layer.weight.copy_(integer.weight * by_output)
        layer.register_forward_pre_hook(_rounding(integer.input_scale))
    x = inputs(SHAPE, 6)
    torch.testing.assert_close(
        outputs(made.module, x), outputs(rounded, x.double()).float(), rtol=1e-3, atol=2e-2
    )


def _rounding(scale: Tensor | None) -> Any:
    def hook(_: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
        x = given[0]
        largest = x.flatten(1).abs().amax(dim=1).reshape(-1, *[1] * (x.ndim - 1))
        step = (largest / 127).clamp(min=1e-30) if scale is None else scale.double()
        return ((x / step).round().clamp(-127, 127) * step,)

    return hook


@pytest.mark.parametrize("name", COMPRESSORS)
def test_every_key_has_a_type_a_default_and_a_line_of_help(name: str) -> None:
    for key, parameter in parameters("compressor", name).items():
        assert parameter.type is not Any, key
        assert parameter.help, key
        assert not parameter.required, key
