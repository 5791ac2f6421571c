"""Parameters and values in a few characters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

ABSENT = "-"
"""Stands where there is no value."""


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Dotted paths to their last words, where those are not the same; ``optimizer.name`` is ``optimizer``."""
    last = [path.removesuffix(".name").rsplit(".", 1)[-1] for path in paths]
    return {path: word if last.count(word) == 1 else path for path, word in zip(paths, last, strict=True)}


def words(params: Mapping[str, Any]) -> str:
    """Parameters in one line."""
    names = short_names(list(params))
    return " ".join(f"{names[path]}={number(value)}" for path, value in params.items())


def number(value: Any) -> str:
    """A value in a few characters; whole numbers keep all their digits."""
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return ABSENT
    return str(int(value)) if value.is_integer() and abs(value) < 1e9 else f"{value:.4g}"


def all_paths(points: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every path that occurs, each behind the one that it follows where it first occurs."""
    paths: list[str] = []
    for point in points:
        place = 0
        for path in point:
            if path in paths:
                place = paths.index(path) + 1
            else:
                paths.insert(place, path)
                place += 1
    return paths
