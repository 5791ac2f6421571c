"""Which modules have a gradient for each example, and what to put in the place of those that haven't."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils.parametrize import is_parametrized

from nnray.errors import IncompatibleModel

_METHOD = "example-level privacy"
_ADVICE = "replace them in the model, or set privacy.replace_modules: true for those with a replacement"


@dataclass(frozen=True, slots=True)
class Misfit:
    """A module that can't be trained with a gradient for each example.

    Args:
        name: In the model; empty for the model itself.
        module: Itself.
        reason: Why not, and what to use.
        can_replace: Whether `replaced` knows what to put in its place.
    """

    name: str
    module: nn.Module
    reason: str
    can_replace: bool = False

    def __str__(self) -> str:
        return f"{self.name or 'the model'} ({type(self.module).__name__}): {self.reason}"


def misfits(model: nn.Module) -> list[Misfit]:
    """All modules that mix examples or have no gradients for each of them."""
    return [found for name, module in model.named_modules() for found in _judge(name, module)]


def _judge(name: str, module: nn.Module) -> Iterator[Misfit]:
    if isinstance(module, _BatchNorm):
        norm = _instead_of(module)
        yield Misfit(name, module, f"mixes the examples of a batch: use {norm}", can_replace=True)
    elif isinstance(module, _InstanceNorm) and module.track_running_stats:
        reason = "keeps statistics of the examples: use it with track_running_stats=False"
        yield Misfit(name, module, reason, can_replace=True)
    elif isinstance(module, nn.RNNBase):
        kind = type(module).__name__
        reason = f"has no gradients for each example: use opacus.layers.DP{kind}, with the same arguments"
        yield Misfit(name, module, reason)
    elif isinstance(module, nn.MultiheadAttention):
        reason = "has no gradients for each example: use opacus.layers.DPMultiheadAttention"
        yield Misfit(name, module, reason)
    elif is_parametrized(module):
        yield Misfit(name, module, "has weights computed from others: leave the parametrization out")


def _instead_of(norm: _BatchNorm) -> nn.Module:
    """Group norm over as many channels; one group for vectors, where a group would be a lone number."""
    groups = 1 if isinstance(norm, nn.BatchNorm1d) else gcd(32, norm.num_features)
    return nn.GroupNorm(groups, norm.num_features, eps=norm.eps, affine=norm.affine)


def _without_statistics(norm: _InstanceNorm) -> nn.Module:
    return type(norm)(norm.num_features, eps=norm.eps, affine=norm.affine, track_running_stats=False)


def replaced(model: nn.Module) -> nn.Module:
    """The model with a module in the place of each that mixes examples, where one is known; in place.

    Norms begin as fresh ones. What has no replacement stays; `require_fit` names it.

    Source:
        Wu and He 2018 (up to 32 groups).
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, _BatchNorm):
            model = _put(model, name, _instead_of(module))
        elif isinstance(module, _InstanceNorm) and module.track_running_stats:
            model = _put(model, name, _without_statistics(module))
    return model


def _put(model: nn.Module, name: str, new: nn.Module) -> nn.Module:
    if not name:
        return new
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, new)
    return model


def require_fit(model: nn.Module) -> None:
    """Check that every module can be trained with a gradient for each example.

    Raises:
        IncompatibleModel: Some can't; all of them are named.
    """
    found = misfits(model)
    if not found:
        return
    can_all = all(misfit.can_replace for misfit in found)
    advice = "set privacy.replace_modules: true, which does it" if can_all else _ADVICE
    raise IncompatibleModel(_METHOD, [str(misfit) for misfit in found], advice)
