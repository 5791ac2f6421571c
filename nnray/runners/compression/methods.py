"""Methods as they are written on the command line: ``channels:share=0.5``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnray import registry
from nnray.config.reader import read_yaml
from nnray.errors import ConfigError, Problem

Method = Mapping[str, Any]
"""``name`` of a compressor, and its keys."""


@dataclass(frozen=True, slots=True)
class Strength:
    """The key that says how strong a method is.

    Args:
        key: Its name.
        none: At this value nothing changes.
        full: At this value it can do no more.
    """

    key: str
    none: float
    full: float

    def at(self, share: float) -> float:
        """The key's value for a strength from 0 to 1."""
        return self.none + share * (self.full - self.none)


STRENGTHS: Mapping[str, Strength] = {
    "magnitude": Strength("sparsity", 0.0, 1.0),
    "channels": Strength("share", 0.0, 0.99),
    "low_rank": Strength("energy", 1.0, 0.0),
}


def read_methods(written: Sequence[str | Method], *, search: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Check methods; keys that are not given are left out.

    Args:
        written: ``NAME`` or ``NAME:KEY=VALUE,...``, or mappings with a ``name``.
        search: Further folders to find user code in.

    Raises:
        ConfigError: With all that is wrong.
    """
    methods = [dict(each) if isinstance(each, Mapping) else _read(each) for each in written]
    problems = [p for method in methods for p in registry.problems("compressor", method, search=search)]
    names = [str(method.get("name")) for method in methods]
    problems += _order(names)
    if problems:
        raise ConfigError("method", problems)
    return methods


def searched(methods: Sequence[Method]) -> int:
    """Which method's strength is to be found: the one whose strength isn't given.

    Raises:
        ConfigError: There is none, or more than one.
    """
    open_ones = [
        number
        for number, method in enumerate(methods)
        if (strength := STRENGTHS.get(method["name"])) and strength.key not in method
    ]
    if len(open_ones) != 1:
        keys = ", ".join(f"{name}:{strength.key}" for name, strength in STRENGTHS.items())
        message = f"needs one method whose strength is left open, of {keys} (got {len(open_ones)} such)"
        raise ConfigError("target", [Problem("", message)])
    return open_ones[0]


def _order(names: Sequence[str]) -> Iterator[Problem]:
    if not names:
        yield Problem("", f"name one of {', '.join(registry.names('compressor'))}")
    if "int8" in names[:-1]:
        yield Problem("int8", f"must be the last method, nothing trains it any more (got {' '.join(names)})")


def _read(text: str) -> dict[str, Any]:
    name, colon, keys = text.rpartition(":")
    if not colon or "=" not in keys:
        name, keys = text, ""
    method: dict[str, Any] = {"name": name}
    for pair in filter(None, keys.split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError("method", [Problem(name, f"must be written NAME:KEY=VALUE,... (got {text!r})")])
        method[key.strip()] = read_yaml(value, source="method")[0]
    return method
