"""Models that nnray did not log: weights alone, and what other tools have pickled.

Weights are read as safetensors, or by ``torch.load(weights_only=True)``, which run nothing. A pickle runs
whatever its maker put into it, and a graph of ``torch.export`` may hold one: both are opened only if the
user says that they are to be trusted.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from nnray.assembly import build_model, load_data
from nnray.assembly.described import about
from nnray.assembly.model import outputs_of
from nnray.config import Experiment, load
from nnray.data.splits import DataInfo
from nnray.errors import RunError
from nnray.models.preprocess import require_outputs
from nnray.runners.origins import Found, search_modules
from nnray.training.weights import weights_safetensors

_INNER = "net."
"""What names of weights begin with in a model that has its normalisation in front."""


def open_foreign(found: Found, *, trust: bool, experiment: Path | None) -> tuple[Found, nn.Module]:
    """Open a model whose files don't say what it is.

    Args:
        found: Its files.
        trust: Unpickle them.
        experiment: The file of the experiment that it is of.

    Raises:
        RunError: It would have to be unpickled and isn't trusted, or it does not fit the experiment.
    """
    content = _content(found.path, trust=trust)
    if experiment is None:
        raise RunError(f"{found.where}: doesn't say which network it is of: name its file with --experiment")
    search_modules([experiment.absolute().parent])
    made = load(experiment)
    info = load_data(made).info
    module = _with_weights(made, info, content, where=found.where)
    described = about(made, info)
    return replace(found, described=described, weights=weights_safetensors(module)), module


def _content(path: Path, *, trust: bool) -> Any:
    if path.is_dir():
        _require_trust(path, trust, why="its network is not described, only stored as a whole")
        from nnray.tracking.scripted import load_mlflow_network

        return load_mlflow_network(path)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise RunError(f"{path}: unreadable as safetensors ({error})") from error
    return _load(path, trust=trust)


def _load(path: Path, *, trust: bool) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a protocol of other pickles: those are refused in any case
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        _require_trust(path, trust, why="it holds more than weights")
        try:
            return torch.load(path, map_location="cpu", weights_only=False)
        except Exception as second:  # noqa: BLE001 (whatever its maker put in)
            raise RunError(f"{path}: can't be unpickled: {type(second).__name__}: {second}") from error
    except Exception as error:  # a malformed file can raise anything
        raise RunError(
            f"{path}: not a model: a folder that MLflow has written, .safetensors, or .pt of torch ({error})"
        ) from error


def _require_trust(path: Path, trust: bool, *, why: str) -> None:
    if not trust:
        raise RunError(
            f"{path}: {why}: to open it would unpickle it, which runs whatever its maker put in; if you "
            "trust its maker, give --trust; safer: have its weights written as safetensors"
        )


def _with_weights(experiment: Experiment, info: DataInfo, content: Any, *, where: str) -> nn.Module:
    """The experiment's network with the weights, or the network itself that was stored."""
    model = build_model(experiment, info)
    weights = content.state_dict() if isinstance(content, nn.Module) else content
    if not isinstance(weights, Mapping) or not all(isinstance(v, Tensor) for v in weights.values()):
        raise RunError(f"{where}: holds {type(content).__name__}; expected weights by name, or a network")
    is_whole = all(name.startswith((_INNER, "mean", "std")) for name in weights)
    target = model if is_whole else getattr(model, "net", model)
    try:
        target.load_state_dict(dict(weights))
    except RuntimeError as error:
        if not isinstance(content, nn.Module):
            raise RunError(
                f"{where}: the weights are of another network than --experiment: {error}"
            ) from error
        require_outputs(where, content, info=info, wanted=outputs_of(experiment, info))
        return content.eval()
    return model.eval()
