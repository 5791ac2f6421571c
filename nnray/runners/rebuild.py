"""From a description and weights to the module again; nothing is unpickled on the way."""

from __future__ import annotations

from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from nnray.assembly import build_model
from nnray.errors import RunError
from nnray.runners.about import About, experiment_of, info_of


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
        from nnray.models.ensemble import Ensemble

        return Ensemble([structure_of(member) for member in described["members"]], described["combine"])
    module = build_model(experiment_of(described), info_of(described))
    for step in described.get("recipe", ()):
        from nnray.compression.structure import apply

        module = apply(module, step)
    return module
