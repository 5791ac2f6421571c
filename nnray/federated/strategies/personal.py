"""The parameters that stay with a client: which they are, and how they get into a vector and out of it."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nnray.errors import ConfigError, Problem, suggestion
from nnray.federated.weights import Slot


@dataclass(frozen=True, slots=True)
class Part:
    """Parameters that stay with clients, and the others.

    Args:
        own: Those that stay.
        others: Those that are sent.
    """

    own: tuple[Slot, ...]
    others: tuple[Slot, ...]

    @property
    def size(self) -> int:
        """Numbers that stay."""
        return sum(slot.size for slot in self.own)

    def take(self, params: Tensor) -> Tensor:
        """Those that stay, one after another: ``[size] float32``."""
        return torch.cat([params[:0], *(slot.of(params).flatten() for slot in self.own)])

    def put(self, params: Tensor, own: Tensor) -> Tensor:
        """Weights with those of a client in their places."""
        found = params.clone()
        for slot, part in zip(self.own, torch.split(own, [slot.size for slot in self.own]), strict=True):
            slot.of(found).copy_(part.view(slot.shape))
        return found

    def clear(self, vector: Tensor) -> Tensor:
        """A vector with zeros in their places."""
        found = vector.clone()
        for slot in self.own:
            slot.of(found).zero_()
        return found


def matching(slots: Sequence[Slot], patterns: Sequence[str] | None) -> Part:
    """The parameters whose names match a pattern, such as ``head.*``; without patterns the last layer's.

    Args:
        slots: All parameters; none where they are not known yet.
        patterns: As a shell's; an exact name is one.

    Raises:
        ConfigError: A pattern matches nothing, or all parameters match.
    """
    if not slots:
        return Part((), ())
    names = [slot.name for slot in slots]
    if patterns is None:
        last = names[-1].rpartition(".")[0]
        return _part(slots, {name for name in names if name.rpartition(".")[0] == last})
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise _refusal(
                "personal", f"the pattern {pattern!r} matches no parameter: {suggestion(pattern, names)}"
            )
    return _part(slots, {name for pattern in patterns for name in fnmatch.filter(names, pattern)})


def of_layers(slots: Sequence[Slot], layer: str) -> Part:
    """The parameters of all layers of a class, by the beginning of its name.

    Raises:
        ConfigError: The model has none, or nothing else.
    """
    if not slots:
        return Part((), ())
    names = {slot.name for slot in slots if slot.layer.startswith(layer)}
    if not names:
        found = ", ".join(sorted({slot.layer for slot in slots if slot.layer}))
        raise _refusal("", f"the model has no {layer} layer with parameters (it has {found}): take another "
                           "model, or strategy fedper, whose clients keep a layer of any kind")  # fmt: skip
    return _part(slots, names)


def _part(slots: Sequence[Slot], names: set[str]) -> Part:
    part = Part(
        tuple(slot for slot in slots if slot.name in names),
        tuple(slot for slot in slots if slot.name not in names),
    )
    if not part.own:
        raise _refusal(
            "personal", "is empty: name parameters that stay with clients, or take strategy fedavg"
        )
    if not part.others:
        raise _refusal("personal", f"all {len(slots)} parameters would stay with clients, and nothing be "
                                   "learnt together: leave some out, or take strategy local")  # fmt: skip
    return part


def _refusal(key: str, message: str) -> ConfigError:
    path = "federated.strategy" + (f".{key}" if key else "")
    return ConfigError("this experiment", [Problem(path, message)])
