"""The manual of something that an experiment may name, read from its source; nothing is imported for it."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nnray.catalog import CATALOG
from nnray.errors import ConfigError, Problem, suggestion
from nnray.registry.lookup import names, signature, target
from nnray.registry.signatures import Parameter
from nnray.registry.source import Unreadable, define, read_module
from nnray.registry.wording import describe as in_words
from nnray.registry.wording import plural, shown

_WIDTH = 80
_SECTION = re.compile(r"^(Args|Returns|Yields|Shape|Units|Raises|Source):\s*(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Key:
    """A key that it takes in an experiment file.

    Args:
        name: The key.
        type: What it may be, in words.
        default: As a file would have it; ``required``, or ``computed`` where only the code knows.
        help: What it does.
    """

    name: str
    type: str
    default: str
    help: str


@dataclass(frozen=True, slots=True)
class Manual:
    """All that is known of something that an experiment may name.

    Args:
        kind: Such as ``model``.
        name: As in the file.
        function: Its ``module:function``.
        text: What it does.
        source: The paper that it follows; empty where it names none.
        keys: That it takes.
        is_open: Whether it takes others too.
    """

    kind: str
    name: str
    function: str
    text: str
    source: str
    keys: tuple[Key, ...]
    is_open: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        return asdict(self) | {"keys": [asdict(key) for key in self.keys]}

    def summary(self) -> str:
        """As a page of 80 columns."""
        return "\n".join(self._lines()).rstrip()

    def _lines(self) -> Iterator[str]:
        yield f"{self.name} ({self.kind})"
        for paragraph in self.text.split("\n\n"):
            yield from (*_wrapped(paragraph, "  "), "")
        yield from _wrapped(self.function, "function   ", hang="           ")
        if self.source:
            yield from _wrapped(self.source, "source     ", hang="           ")
        yield ""
        yield "parameters" if self.keys else "takes no parameters"
        for key in self.keys:
            default = key.default if key.default in ("required", "computed") else f"default {key.default}"
            yield from _wrapped(f"{key.name}: {key.type}; {default}", "  ", hang="      ")
            yield from _wrapped(key.help, "      ")
        if self.is_open:
            yield "  and any other, which is passed on"


def describe(kind: str, name: str) -> Manual:
    """Describe something that an experiment may name: what it does, what it takes, where it stands.

    Args:
        kind: Singular or plural, such as ``models``.
        name: As in the file: of the catalog, or ``module:function`` of your own.

    Raises:
        ConfigError: There is no such kind, or no such name.
    """
    singular = next((one for one in CATALOG if kind in (one, plural(one))), None)
    if singular is None:
        allowed = [plural(one) for one in CATALOG]
        raise ConfigError("describe", [Problem("", f"no such kind {kind!r}; {suggestion(kind, allowed)}")])
    if name not in names(singular) and ":" not in name:
        raise ConfigError("describe", [Problem("", f"no {singular} {name!r}; {_elsewhere(singular, name)}")])
    found = signature(singular, name)
    text, source = _read(singular, name)
    keys = tuple(_key(parameter) for parameter in found.parameters.values())
    return Manual(
        singular, name, target(singular, name), text or found.summary, source, keys, is_open=found.is_open
    )


def _elsewhere(kind: str, name: str) -> str:
    """What a name that a kind doesn't have may have meant: one of another kind, or a near one."""
    homes = [plural(other) for other in CATALOG if name in CATALOG[other]]
    there = f"it is among the {' and the '.join(homes)}; " if homes else ""
    return there + suggestion(name, names(kind))


def _read(kind: str, name: str) -> tuple[str, str]:
    """The text of a docstring before its sections, and its section on the source."""
    module, _, function = target(kind, name).partition(":")
    try:
        found = define(read_module(module), function)
    except Unreadable:
        return "", ""
    node = found[1] if found is not None else None
    if not isinstance(node, ast.FunctionDef | ast.ClassDef):
        return "", ""
    docstring = ast.get_docstring(node) or ""
    sections = list(_SECTION.finditer(docstring))
    text = docstring[: sections[0].start()] if sections else docstring
    ends = [match.start() for match in sections[1:]] + [len(docstring)]
    parts = (
        {match[1]: docstring[match.start(2) : end] for match, end in zip(sections, ends, strict=True)}
        if sections
        else {}
    )
    return text.strip(), " ".join(parts.get("Source", "").split())


def _key(parameter: Parameter) -> Key:
    default = (
        "required" if parameter.required else "computed" if parameter.computed else shown(parameter.default)
    )
    return Key(parameter.name, in_words(parameter.type), default, parameter.help)


def _wrapped(text: str, indent: str, hang: str | None = None) -> Sequence[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        width=_WIDTH,
        initial_indent=indent,
        subsequent_indent=indent if hang is None else hang,
        break_on_hyphens=False,
        break_long_words=False,
    )
