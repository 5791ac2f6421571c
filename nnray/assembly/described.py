"""What a model is, beside its weights: all that it takes to build its module again, as plain JSON.

It stands in ``nnray.json`` beside the weights, so that no verb after training has to unpickle anything,
or to trace a graph back: the module is built as it was for training, changed by the recipe of what was
done to it since, and given the weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from nnray.config import Experiment, parse
from nnray.config.tree import to_tree
from nnray.data.splits import DataInfo
from nnray.errors import RunError

VERSION = 1
WEIGHTS, ABOUT = "weights.safetensors", "nnray.json"
About = Mapping[str, Any]


def about(experiment: Experiment, info: DataInfo, *, recipe: Sequence[Mapping[str, Any]] = ()) -> About:
    """Describe a model.

    Args:
        experiment: That it was built by.
        info: Of the data that it was built for.
        recipe: What has changed its structure since, step by step.
    """
    tree = to_tree(experiment)
    return {"version": VERSION, "experiment": tree, "info": asdict(info), "recipe": [*map(dict, recipe)]}


def model_files(weights: bytes, described: About) -> dict[str, bytes]:
    """The files that a model is kept in beside its graph.

    Args:
        weights: In canonical order, as safetensors.
        described: What the model is.
    """
    return {WEIGHTS: weights, ABOUT: json.dumps(described, indent=1).encode()}


def read_about(data: bytes, *, where: str) -> About:
    """The description in a file.

    Args:
        data: Of the file.
        where: It stood, for messages.

    Raises:
        RunError: It is none, or of another version.
    """
    try:
        found = json.loads(data)
    except ValueError as error:
        raise RunError(f"{where}: not a description of a model ({error})") from error
    if not isinstance(found, dict) or found.get("version") != VERSION:
        version = found.get("version") if isinstance(found, dict) else None
        raise RunError(
            f"{where}: a description of version {version}; this nnray reads {VERSION}: use the nnray it is of"
        )
    if not ({"experiment", "info"} <= found.keys() or {"members"} <= found.keys()):
        raise RunError(f"{where}: describes neither a model nor an ensemble of models; log it again")
    return found


def experiment_of(described: About) -> Experiment:
    """The experiment that a model was built by; of an ensemble, its first member's.

    Raises:
        ConfigError: It is none that this nnray knows.
    """
    first = first_of(described)
    return parse(first["experiment"], source="the experiment of the model")


def info_of(described: About) -> DataInfo:
    """What is known of the data that a model was built for.

    Raises:
        RunError: It lacks something.
    """
    values = {name: _frozen(value) for name, value in first_of(described)["info"].items()}
    try:
        return DataInfo(**values)
    except TypeError as error:
        raise RunError(f"the model's description doesn't describe its data: {error}") from error


def first_of(described: About) -> About:
    """A model's own description, or that of the first member of an ensemble."""
    while "members" in described:
        described = described["members"][0]
    return described


def _frozen(value: Any) -> Any:
    return tuple(_frozen(each) for each in value) if isinstance(value, list) else value
