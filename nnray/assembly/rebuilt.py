"""From a description and weights to the module again; nothing is unpickled on the way."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from nnray.assembly.described import ABOUT, WEIGHTS, About, experiment_of, info_of, read_about
from nnray.assembly.model import build_model
from nnray.compression.structure import apply
from nnray.errors import RunError
from nnray.models.ensemble import Ensemble


def load_folder(path: str | Path) -> nn.Module:
    """The module whose description and weights stand in a folder.

    Raises:
        RunError: They don't, or don't belong together.
    """
    folder = Path(path)
    try:
        described = read_about((folder / ABOUT).read_bytes(), where=str(folder / ABOUT))
        return module_of(described, (folder / WEIGHTS).read_bytes(), where=str(folder))
    except OSError as error:
        raise RunError(
            f"{folder}: no model is there ({error.strerror}); all nodes must have that folder"
        ) from error


def module_of(described: About, weights: bytes, *, where: str = "the model") -> nn.Module:
    """Build a model's module, and give it its weights.

    Args:
        described: What it is.
        weights: A file of safetensors.
        where: They are from, for messages.

    Returns:
        On the CPU, in evaluation mode.

    Raises:
        RunError: The weights are unreadable, or of another module.
    """
    module = structure_of(described)
    try:
        module.load_state_dict(load(weights))
    except SafetensorError as error:
        raise RunError(f"{where}: unreadable weights ({error}); log the model again") from error
    except RuntimeError as error:
        raise RunError(f"{where}: the weights are of another network: {error}") from error
    return module.eval()


def structure_of(described: About) -> nn.Module:
    """A model's module with the weights that it began with."""
    if "members" in described:
        return Ensemble([structure_of(member) for member in described["members"]], described["combine"])
    module = build_model(experiment_of(described), info_of(described))
    for step in described.get("recipe", ()):
        module = apply(module, step)
    return module
