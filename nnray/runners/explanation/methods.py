"""Explainers as people ask for them: ``NAME``, or ``NAME:key=value,key=value``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nnray.config.overrides import read_overrides
from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, Problem
from nnray.explainers.explainer import Explainer
from nnray.registry import build, problems


def read_methods(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Names and keys of explainers, checked.

    Args:
        texts: Values are written as in YAML.

    Raises:
        ConfigError: There is no such explainer, or no such key or value of it; all of these.
    """
    methods, wrong = [], []
    for text in texts:
        name, keys = _parted(text)
        values, found = read_overrides(list(_pairs(keys)))
        methods.append({"name": name, **values})
        wrong += found or problems("explainer", methods[-1], path=text)
    names = [method["name"] for method in methods]
    wrong += [
        Problem(name, "is named twice: give each method once") for name in set(names) if names.count(name) > 1
    ]
    if not methods:
        wrong.append(Problem("", "no method: name one, such as integrated_gradients"))
    if wrong:
        raise ConfigError("explain", wrong)
    return methods


def make(method: Mapping[str, Any], info: DataInfo, *, seed: int) -> Explainer:
    """The explainer of a checked method."""
    made: Explainer = build("explainer", method, info, seed=seed)
    return made


def _parted(text: str) -> tuple[str, str]:
    """Name and keys; a user's own function has a colon in its name."""
    name, colon, keys = text.rpartition(":")
    return (name, keys) if colon and "=" in keys else (text.removesuffix(":"), "")


def _pairs(keys: str) -> Iterator[str]:
    return (pair for pair in keys.split(",") if pair)
