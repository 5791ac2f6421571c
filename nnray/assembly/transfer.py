"""Transfer: a network begins with what another one has learnt, and learns at several rates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from nnray.assembly.described import WEIGHTS
from nnray.config import Experiment
from nnray.errors import ConfigError, Problem, RunError
from nnray.models.freeze import freeze, matching

_NET = "net."


def begin(model: nn.Module, experiment: Experiment) -> nn.Module:
    """Give a fresh network the weights that it begins with, and freeze what shall stay so.

    What is in front of the network, the normalization, stays that of its own data.

    Raises:
        ConfigError: The weights are of another network, in other parts than those left out.
        RunError: They are not there.
    """
    settings = experiment.model
    if settings.init_from is not None:
        _take(model, _read(Path(settings.init_from)), skip=settings.init_skip)
    freeze(model, settings.freeze)
    return model


def groups_of(model: nn.Module, experiment: Experiment) -> list[Any]:
    """The parameters that are trained, in groups of one learning rate each, the plain rate first.

    Raises:
        ConfigError: A pattern of ``optimizer.lr_scale`` matches nothing.
    """
    named = {name: param for name, param in model.named_parameters() if param.requires_grad}
    scales = experiment.optimizer.lr_scale
    if not scales:
        return list(named.values())
    of: dict[str, float] = {}
    for pattern, scale in scales.items():
        for name in matching(named, [pattern], path="optimizer.lr_scale"):
            of.setdefault(name, scale)
    plain = [param for name, param in named.items() if name not in of]
    groups = [{"params": plain, "lr_scale": 1.0}] if plain else []
    for scale in dict.fromkeys(of.values()):
        params = [param for name, param in named.items() if of.get(name) == scale]
        groups.append({"params": params, "lr_scale": scale})
    return groups


def _read(folder: Path) -> dict[str, Tensor]:
    try:
        return load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise RunError(
            f"model.init_from: can't read weights from {folder} ({error}); all nodes must have that folder"
        ) from error


def _take(model: nn.Module, given: Mapping[str, Tensor], *, skip: list[str]) -> None:
    own = {name: value for name, value in model.state_dict().items() if name.startswith(_NET)}
    there = {name: value for name, value in given.items() if name.startswith(_NET)}
    left = matching({**own, **there}, skip, path="model.init_skip")
    if problems := list(_misfits(own, there, left)):
        advice = "if these are to begin afresh, match them by model.init_skip, such as ['net.output.*']"
        told = "; ".join(problems[:8]) + (f"; and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise ConfigError("this experiment", [Problem("model.init_from", f"{told}; {advice}")])
    taken = {name: value for name, value in there.items() if name not in left}
    model.load_state_dict({**model.state_dict(), **taken})


def _misfits(own: Mapping[str, Tensor], there: Mapping[str, Tensor], left: set[str]) -> Iterator[str]:
    """What one network has and the other hasn't, or in another shape."""
    for name in sorted({*own, *there} - left):
        if name not in there:
            yield f"the trained model has no {name}"
        elif name not in own:
            yield f"this network has no {name}"
        elif own[name].shape != there[name].shape:
            yield f"{name} is {list(there[name].shape)} there, and {list(own[name].shape)} here"
