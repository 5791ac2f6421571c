"""An experiment as plain values, in the order of a file, and flat for the record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from nnray.config.components import Component
from nnray.config.experiment import Experiment
from nnray.config.paths import hints_of
from nnray.config.ranges import Range

Scalar = str | int | float | bool | None


def to_tree(experiment: Experiment, *, defaults: bool = True) -> dict[str, Any]:
    """The mappings, lists and scalars that make the same experiment again.

    Args:
        experiment: What to write.
        defaults: Write what was not given too.
    """
    tree: dict[str, Any] = _plain(experiment, defaults=defaults)
    return tree


def flatten(experiment: Experiment) -> dict[str, Scalar]:
    """Every value of an experiment by its dotted path; a list is written as JSON."""
    return dict(_flat("", to_tree(experiment)))


def _plain(value: Any, *, defaults: bool) -> Any:
    if isinstance(value, Range):
        return value.as_written()
    if isinstance(value, Component):
        return _component(value, defaults=defaults)
    if isinstance(value, BaseModel):
        names = {info.alias or name: name for name, info in type(value).model_fields.items()}
        items = {key: getattr(value, names[key]) for key in hints_of(type(value))}
        return {
            key: _plain(item, defaults=defaults)
            for key, item in items.items()
            if (defaults or names[key] in value.model_fields_set)
            and not (key in ("parallel", "sweep", "federated", "privacy") and item is None)
        }
    if isinstance(value, list | tuple):
        return [_plain(item, defaults=defaults) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item, defaults=defaults) for key, item in value.items()}
    return value


def _component(value: Component, *, defaults: bool) -> dict[str, Any]:
    own = {key: getattr(value, key) for key in type(value).model_fields if key != "name"}
    everything = {"name": value.name, **value.kwargs, **own}
    return {
        key: _plain(item, defaults=defaults)
        for key, item in everything.items()
        if defaults or key == "name" or key in value.model_fields_set
    }


def _flat(path: str, value: Any) -> Iterator[tuple[str, Scalar]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(f"{path}.{key}" if path else key, item)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for place, item in enumerate(value):
            yield from _flat(f"{path}.{place}", item)
    else:
        yield path, json.dumps(value) if isinstance(value, list | dict) else value
