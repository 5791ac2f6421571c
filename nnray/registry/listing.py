"""What an experiment may name, for people: read from source, nothing is imported for it."""

from __future__ import annotations

from dataclasses import dataclass

from nnray.catalog import CATALOG
from nnray.errors import ConfigError, Problem, suggestion
from nnray.registry.lookup import names, parameters, summary
from nnray.registry.signatures import Parameter
from nnray.registry.wording import describe, plural, shown


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that an experiment may name.

    Args:
        name: As in the file.
        summary: In one line.
        parameters: ``name = default: what it may be. What it does.`` each.
    """

    name: str
    summary: str
    parameters: tuple[str, ...]


def kinds() -> tuple[str, ...]:
    """The kinds of things that an experiment may name, in the plural: ``models``, ..."""
    return tuple(plural(kind) for kind in CATALOG)


def entries(kind: str) -> tuple[Entry, ...]:
    """What there is of a kind, with its parameters; nothing is imported for it.

    Args:
        kind: Singular or plural, such as ``models``.

    Raises:
        ConfigError: There is no such kind.
    """
    singular = next((one for one in CATALOG if kind in (one, plural(one))), None)
    if singular is None:
        raise ConfigError("list", [Problem("", f"no such kind {kind!r}; {suggestion(kind, kinds())}")])
    return tuple(_entry(singular, name) for name in names(singular))


def _entry(kind: str, name: str) -> Entry:
    described = tuple(_described(parameter) for parameter in parameters(kind, name).values())
    return Entry(name, summary(kind, name), described)


def _described(parameter: Parameter) -> str:
    default = "" if parameter.required else f" = {shown(parameter.default)}"
    return f"{parameter.name}{default}: {describe(parameter.type)}. {parameter.help}"
