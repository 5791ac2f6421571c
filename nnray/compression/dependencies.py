"""The groups of channels of a network, read from its graph as torch.fx traces it."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import lcm, prod
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nnray.compression.channel_groups import Group, Layout, Segment, fixed, keep, same, use
from nnray.compression.int8_layers import Int8Layer
from nnray.errors import IncompatibleModel, in_a_sentence
from nnray.evaluation.evaluate import evaluation_mode

_LEAVES = (nn.Linear, nn.Conv2d, _BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.Dropout, Int8Layer)
_CHANNEL_BY_CHANNEL = (
    *(nn.Identity, nn.Dropout, nn.Dropout2d, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU),
    *(nn.Mish, nn.Tanh, nn.Sigmoid, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.Softplus),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
)
_NAMED_CHANNEL_BY_CHANNEL = frozenset(
    {"relu", "relu_", "relu6", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "hardtanh"}
    | {"hardswish", "hardsigmoid", "dropout", "contiguous", "clone", "stochastic_depth"}
    | {"max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"}
)
_COMBINE = frozenset({"add", "add_", "iadd", "sub", "sub_", "isub", "mul", "mul_", "imul", "truediv", "div"})
_FAILURES = (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError, fx.proxy.TraceError)


def channel_groups(model: nn.Module, inputs: Tensor) -> list[Group]:
    """All groups of channels of a network, those that must stay among them.

    Args:
        model: Left as it is.
        inputs: Two examples or more, as it takes them.

    Raises:
        IncompatibleModel: torch.fx can't trace it.
    """
    with evaluation_mode(model), torch.no_grad():
        walk = _Walk(model, dict(model.named_modules()), _tied(model))
        for node in _traced(model, inputs).nodes:
            walk.layouts[node] = walk.visit(node)
    return walk.groups()


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _LEAVES) or super().is_leaf_module(m, module_qualified_name)


class _Shapes(fx.Interpreter):
    """Applies the network once, and writes each value's shape down."""

    def run_node(self, n: fx.Node) -> Any:
        made = super().run_node(n)
        n.meta["shape"] = tuple(made.shape) if isinstance(made, Tensor) else None
        return made


def _traced(model: nn.Module, inputs: Tensor) -> fx.Graph:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the networks' own code: it is not run in training here
            graph = _Tracer().trace(model)
            _Shapes(fx.GraphModule(model, graph)).run(inputs[:2])
    except _FAILURES as error:
        what = f"{type(model).__name__}: torch.fx can't trace it: {in_a_sentence(error)}"
        advice = "use magnitude, low_rank or int8, which don't need the network's graph"
        raise IncompatibleModel("channels", [what], advice) from error
    return graph


def _tied(model: nn.Module) -> frozenset[str]:
    """The layers that share a parameter with another one."""
    owners = [
        (name, id(parameter))
        for name, module in model.named_modules()
        for parameter in module.parameters(recurse=False)
    ]
    times = Counter(number for _, number in owners)
    return frozenset(name for name, number in owners if times[number] > 1)


def _name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "?")


@dataclass(slots=True)
class _Walk:
    """Goes through a graph in order, and says of each value what its features are."""

    model: nn.Module
    modules: Mapping[str, nn.Module]
    tied: frozenset[str]
    layouts: dict[fx.Node, Layout | None] = field(default_factory=dict)
    called: dict[str, tuple[Layout, Layout]] = field(default_factory=dict)
    made: list[Layout] = field(default_factory=list)

    def groups(self) -> list[Group]:
        """Those that have a use, in the order of the graph."""
        roots = {id(s.group.root()): s.group.root() for layout in self.made for s in layout}
        return [group for group in roots.values() if group.uses]

    def visit(self, node: fx.Node) -> Layout | None:
        """The layout of a node's value; None for what is no batch."""
        if node.op == "placeholder":
            return self._note(fixed(node.meta["shape"][1], "the network's inputs"))
        if node.op == "output":
            self._keep(node, "the network's outputs")
            return None
        if node.op == "get_attr":
            return None
        return self._module(node) if node.op == "call_module" else self._function(node)

    def _module(self, node: fx.Node) -> Layout | None:
        name, given = str(node.target), self._given(node)
        layer = self.modules[name]
        if len(given) != 1 or name in self.tied:
            return self._unknown(node)
        if name in self.called:
            before, after = self.called[name]
            same(before, given[0])
            return after
        made = self._layer(node, layer, given[0])
        if made is not None and isinstance(layer, _LEAVES):
            self.called[name] = (given[0], made)
        return made

    def _layer(self, node: fx.Node, layer: nn.Module, given: Layout) -> Layout | None:
        name, ndim = str(node.target), len(self._shape(node.all_input_nodes[0]))
        if isinstance(layer, nn.Conv2d) and layer.groups == 1:
            return self._new(name, given, layer.out_channels)
        if isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels == layer.out_channels:
            use(given, name, side="outputs")
            return given
        if isinstance(layer, nn.Linear) and ndim == 2:
            return self._new(name, given, layer.out_features)
        if isinstance(layer, _BatchNorm) or (isinstance(layer, nn.LayerNorm) and ndim == 2):
            use(given, name, side="features")
            return given
        if isinstance(layer, nn.GroupNorm) and [s.repeat for s in given] == [1]:
            root = given[0].group.root()
            root.block = lcm(root.block, layer.num_channels // layer.num_groups)
            use(given, name, side="features")
            return given
        if isinstance(layer, nn.Flatten) and layer.start_dim == 1 and layer.end_dim == -1:
            return self._flattened(node, given)
        return given if isinstance(layer, _CHANNEL_BY_CHANNEL) else self._unknown(node)

    def _new(self, name: str, given: Layout, size: int) -> Layout:
        use(given, name, side="inputs")
        made = self._note((Segment(Group(size)),))
        use(made, name, side="outputs")
        return made

    def _function(self, node: fx.Node) -> Layout | None:
        name, given = _name(node), self._given(node)
        if node.meta["shape"] is None and not any(isinstance(a, fx.Node) for a in node.args[1:]):
            return self._keep_parts(node, name)
        if name in _NAMED_CHANNEL_BY_CHANNEL and len(given) == 1:
            return given[0]
        if name in _COMBINE:
            return self._combined(node, given)
        if name in ("cat", "concat") and _dim(node) == 1:
            return self._joined(node)
        if name in ("flatten", "view", "reshape") and self._is_flat(node):
            return self._flattened(node, given[0])
        if name == "mean" and _dim(node) in ((2, 3), (-1, -2), (-2, -1)):
            return given[0]
        return self._unknown(node)

    def _keep_parts(self, node: fx.Node, name: str) -> Layout | None:
        """Sizes of a value tell nothing of its channels; its parts do."""
        if name not in ("size", "dim", "getattr", "getitem", "numel"):
            self._keep(node, f"they go through {name}, which is not known here")
        return None

    def _combined(self, node: fx.Node, given: list[Layout]) -> Layout | None:
        """A sum or product, channel by channel."""
        nodes = node.all_input_nodes
        shapes = [self._shape(n) for n in nodes if self._shape(n)]
        if len(given) != len(shapes) or len({(len(s), s[1]) for s in shapes}) != 1:
            return self._unknown(node)
        for other in given[1:]:
            same(given[0], other)
        return given[0]

    def _joined(self, node: fx.Node) -> Layout | None:
        parts = node.args[0] if node.args else node.kwargs["tensors"]
        layouts = [self.layouts.get(part) for part in parts]  # type: ignore[union-attr, arg-type]
        if any(layout is None for layout in layouts):
            return self._unknown(node)
        return tuple(segment for layout in layouts for segment in layout or ())

    def _flattened(self, node: fx.Node, given: Layout) -> Layout:
        times = prod(self._shape(node.all_input_nodes[0])[2:])
        return tuple(Segment(segment.group, segment.repeat * times) for segment in given)

    def _is_flat(self, node: fx.Node) -> bool:
        """Whether it makes one feature after another of each example, whatever the number of channels."""
        before, after = self._shape(node.all_input_nodes[0]), self._shape(node)
        written = node.args[2] if len(node.args) == 3 and _name(node) != "flatten" else -1
        return bool(written == -1 and after == (before[0], prod(before[1:])))

    def _unknown(self, node: fx.Node) -> Layout | None:
        what = f"they go through {_name(node)}, which is not known here"
        if node.op == "call_module":
            what = f"they go through {node.target} ({type(self.modules[str(node.target)]).__name__})"
        self._keep(node, what)
        shape = self._shape(node)
        return self._note(fixed(shape[1], what)) if len(shape) > 1 else None

    def _keep(self, node: fx.Node, reason: str) -> None:
        for layout in self._given(node):
            keep(layout, reason)

    def _given(self, node: fx.Node) -> list[Layout]:
        found = (self.layouts.get(given) for given in node.all_input_nodes)
        return [layout for layout in found if layout is not None]

    def _note(self, layout: Layout) -> Layout:
        self.made.append(layout)
        return layout

    @staticmethod
    def _shape(node: fx.Node) -> tuple[int, ...]:
        return node.meta.get("shape") or ()


def _dim(node: fx.Node) -> Any:
    """The dimension that an operation is told, or several as a tuple."""
    written = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
    return tuple(written) if isinstance(written, list | tuple) else written
