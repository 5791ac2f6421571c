"""One name for a set of weights: the same numbers give the same hash on every machine."""

from __future__ import annotations

import hashlib

from torch import Tensor, nn


def canonical_state(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by sorted name: on the CPU, contiguous, sharing no memory.

    A tensor that stands under two names, as tied weights do, is written under both.
    """
    state = module.state_dict()
    return {name: state[name].detach().cpu().contiguous().clone() for name in sorted(state)}


def weights_safetensors(module: nn.Module) -> bytes:
    """The weights in canonical order, as the bytes of a safetensors file."""
    from safetensors.torch import save

    return save(canonical_state(module))


def weights_sha256(module: nn.Module) -> str:
    """The SHA-256 of the weights in canonical order as safetensors, as hex."""
    return hashlib.sha256(weights_safetensors(module)).hexdigest()
