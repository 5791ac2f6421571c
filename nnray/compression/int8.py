"""Weights and products of 8 bits in place of 32."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from nnray.compression.compressor import Compressed, Compressor
from nnray.compression.int8_layers import quantizable, quantized, scale_of
from nnray.compression.layers import watch_inputs, weighty_layers
from nnray.compression.structure import replace_layers
from nnray.errors import IncompatibleModel


def int8(*, activations: Literal["dynamic", "static"] = "dynamic") -> Compressor:
    """Hold the weights of linear layers and convolutions as integers of 8 bits, and multiply integers.

    The network can't be trained any more. A quarter of the bytes is sure; how fast it is depends on the
    processor and on the shapes: see the latency that is measured.

    Args:
        activations: What scale a layer's inputs get: of each example as it comes, or one that some training
            examples were seen to need.

    Raises:
        IncompatibleModel: It has no layer that can be.

    Source:
        Jacob et al. 2018, section 2; Krishnamoorthi 2018, section 3.
    """

    def compress(module: nn.Module, inputs: Tensor) -> Compressed:
        weighty = weighty_layers(module)
        chosen = {name: layer for name, layer in weighty.items() if quantizable(layer)}
        stay = [f"{name} ({type(layer).__name__})" for name, layer in weighty.items() if name not in chosen]
        if not chosen:
            why = stay or [f"{type(module).__name__}: it has no linear layer and no convolution"]
            raise IncompatibleModel("int8", why, "use magnitude, channels or low_rank instead")
        is_static = activations == "static"
        layers = {name: quantized(layer, static=is_static) for name, layer in chosen.items()}
        if is_static:
            for name, largest in _largest_inputs(module, list(chosen), inputs).items():
                layers[name].input_scale = scale_of(largest)
        smaller = replace_layers(copy.deepcopy(module), layers)
        step = {"step": "int8", "layers": {name: {"static": is_static} for name in layers}}
        return Compressed(smaller, [step], [f"int8: {name} stays: its groups or padding" for name in stay])

    return compress


def _largest_inputs(module: nn.Module, names: list[str], inputs: Tensor) -> dict[str, Tensor]:
    largest: dict[str, Tensor] = {}

    def note(name: str, given: Tensor) -> None:
        found = given.abs().amax()
        largest[name] = torch.maximum(largest[name], found) if name in largest else found

    watch_inputs(module, inputs, names=names, on_inputs=note)
    return largest
