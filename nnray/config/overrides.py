"""Sets fields of an experiment by their dotted paths, before it is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from nnray import registry
from nnray.config.components import Component
from nnray.config.experiment import Experiment
from nnray.config.paths import child, hints_of, kind_of, section_of
from nnray.config.reader import read_yaml
from nnray.errors import ConfigError, Problem

_WHOLE = (("sweep", "space"), ("sweep", "points", None))
"""Mappings whose keys are dotted paths themselves."""


def read_overrides(overrides: Sequence[str]) -> tuple[dict[str, Any], list[Problem]]:
    """The values of ``PATH=VALUE`` texts by path, and what is wrong with those that aren't.

    Args:
        overrides: The value is written as in YAML.
    """
    values: dict[str, Any] = {}
    found: list[Problem] = []
    for text in overrides:
        path, equals, value = text.partition("=")
        if not equals or not all(path.strip().split(".")):
            found.append(Problem("", f"the override {registry.shown(text)} must be written PATH=VALUE"))
            continue
        try:
            values[path.strip()], problems = read_yaml(value, source="")
            found += [Problem(path, problem.message) for problem in problems]
        except ConfigError as error:
            found += [Problem(path.strip(), problem.message) for problem in error.problems]
    return values, found


def apply(
    tree: Any, values: Mapping[str, Any], *, search: Sequence[str] = (), drop_unknown: bool = False
) -> tuple[Any, list[Problem]]:
    """A copy of a file's tree with fields set, and which could not be.

    Args:
        tree: Mappings, lists and scalars.
        values: By dotted path; later ones win.
        search: Further folders to find user code in.
        drop_unknown: Set names first, and drop the keys of the tree that another component doesn't take.
    """
    found: list[Problem] = []
    setter = _Setter(tuple(search), drop_unknown)
    for path in sorted(values, key=_is_no_name) if drop_unknown else values:
        try:
            tree = setter.set(tree, Experiment, _keys(path), values[path])
        except _NoPlace as error:
            found.append(Problem(path, str(error)))
    return tree, found


def _is_no_name(path: str) -> bool:
    return not path.endswith(".name")


class _NoPlace(Exception):
    """An override that goes into something that has no fields."""


def _keys(path: str) -> list[str]:
    keys = path.split(".")
    for whole in _WHOLE:
        start = keys[: len(whole)]
        if len(keys) > len(whole) and all(w in (None, key) for w, key in zip(whole, start, strict=True)):
            return [*start, ".".join(keys[len(whole) :])]
    return keys


@dataclass(frozen=True, slots=True)
class _Setter:
    search: tuple[str, ...]
    drop_unknown: bool

    def set(self, tree: Any, hint: Any, keys: Sequence[str], value: Any) -> Any:
        """A copy of a tree of some type with the value behind the keys set."""
        if not keys:
            return value
        key, rest = keys[0], keys[1:]
        kind = kind_of(hint)
        if kind and isinstance(tree, str):
            tree = {"name": tree}
        if kind and key == "name" and isinstance(tree, Mapping) and isinstance(value, str):
            return self._rename(kind, tree, value, hint)
        inner = child(hint, key)
        if isinstance(tree, list):
            if not key.isdecimal() or int(key) >= len(tree):
                raise _NoPlace(f"there is no item {key!r} in a list of {len(tree)}")
            place = int(key)
            return [*tree[:place], self.set(tree[place], inner, rest, value), *tree[place + 1 :]]
        if tree is not None and not isinstance(tree, Mapping):
            raise _NoPlace(f"has no place: {registry.shown(tree)} stands where {key!r} would be a key")
        below = (tree or {}).get(key)
        if below is None and rest:
            below = _default(hint, key)
        return {**(tree or {}), key: self.set(below, inner, rest, value)}

    def _rename(self, kind: str, tree: Mapping[str, Any], name: str, hint: Any) -> dict[str, Any]:
        """Change a component's name; the fields that its section adds, such as data.root, stay."""
        section = section_of(hint) or Component
        own = {key: tree[key] for key in tree if key != "name" and key in hints_of(section)}
        keys = {key: tree[key] for key in tree if key not in own}
        renamed = registry.renamed(kind, keys, name=name, search=self.search, drop_unknown=self.drop_unknown)
        return {**renamed, **own}


def _default(hint: Any, key: str) -> Any:
    """The short form of a component that a file may leave out; None for all else."""
    section: type[BaseModel] | None = section_of(hint)
    field = section.model_fields.get(key) if section else None
    return field.default.name if field is not None and isinstance(field.default, Component) else None
