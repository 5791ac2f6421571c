"""Attacks and corruptions as they are named on the command line: ``pgd:steps=20``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnray import registry
from nnray.config.reader import read_yaml
from nnray.errors import ConfigError, Problem
from nnray.robustness.attack import Attack
from nnray.robustness.corruption import Corruption

ALL = "all"


def attacks_of(written: Sequence[str], *, common: Mapping[str, Any]) -> dict[str, Attack]:
    """Attacks by a label that says their norm.

    Args:
        written: ``NAME`` or ``NAME:KEY=VALUE,...`` for each.
        common: Keys that all of them get.

    Raises:
        ConfigError: With all that is wrong.
    """
    made = _made("attack", written, common=common)
    names = [text.partition(":")[0] for text in made]
    labels = [name if names.count(name) == 1 else text for text, name in zip(made, names, strict=True)]
    return {f"{label} {one.norm}": one for label, one in zip(labels, made.values(), strict=True)}


def corruptions_of(written: Sequence[str]) -> dict[str, Corruption]:
    """Corruptions by name.

    Args:
        written: As attacks are; ``all`` stands for all that ship.

    Raises:
        ConfigError: With all that is wrong.
    """
    names = [name for text in written for name in (registry.names("corruption") if text == ALL else [text])]
    return _made("corruption", names, common={})


def _made(kind: str, written: Sequence[str], *, common: Mapping[str, Any]) -> dict[str, Any]:
    components = {text: {**_read(kind, text), **common} for text in written}
    checked = {text: registry.check(kind, component) for text, component in components.items()}
    problems = [
        Problem(str(components[text].get("name")), str(problem))
        for text, (_, found) in checked.items()
        for problem in found
    ]
    if problems:
        raise ConfigError(kind, problems)
    return {
        text: registry.build(kind, {"name": components[text]["name"], **keys})
        for text, (keys, _) in checked.items()
    }


def _read(kind: str, text: str) -> dict[str, Any]:
    """A name and its keys; a comma within brackets doesn't part keys."""
    name, colon, keys = text.rpartition(":")
    if not colon or "=" not in keys:
        return {"name": text}
    found: dict[str, Any] = {"name": name}
    for pair in _pairs(keys):
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(kind, [Problem(name, f"must be written NAME:KEY=VALUE,... (got {text!r})")])
        found[key.strip()] = read_yaml(value, source=kind)[0]
    return found


def _pairs(text: str) -> list[str]:
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[(") - (letter in "])")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part]
