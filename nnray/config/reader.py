"""Reads YAML from anyone: only plain values come out, and every limit is checked while reading.

The scalars are those of YAML 1.2's core schema, so ``1e-3`` is a number and ``no`` is a text. Tags that
would make Python objects, aliases that blow up, doubled keys and bottomless nesting are refused. The
tree is built from the parser's events without recursion: no input can exhaust the stack.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from nnray.errors import ConfigError, Problem
from nnray.registry import shown

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 20_000
_MAX_DIGITS = 300

_NULL = re.compile(r"(~|null|Null|NULL|)")
_BOOL = re.compile(r"(true|True|TRUE|false|False|FALSE)")
_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS: dict[str, Callable[[Any], bool]] = {
    "str": lambda value: True,
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "bool": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


class _Refused(Exception):
    """What is wrong with the text, for one problem."""


@dataclass(slots=True)
class _Frame:
    """A list or mapping that is being read."""

    value: list[Any] | dict[str, Any]
    anchor: str | None
    before: int
    key: str | None = None
    skips: bool = False
    lines: dict[str, int] = field(default_factory=dict)


def read_yaml(text: str, *, source: str) -> tuple[Any, list[Problem]]:
    """The plain value that a YAML text holds, and the keys that it holds twice.

    Args:
        text: One document.
        source: Where it comes from, for messages.

    Raises:
        ConfigError: It is not YAML, or not plain data within the limits.
    """
    if len(text) > MAX_BYTES:
        message = f"is too large: {len(text):,} characters; an experiment has at most {MAX_BYTES:,}"
        raise ConfigError(source, [Problem("", message)])
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            builder.take(event)
    except _Refused as error:
        raise ConfigError(source, [Problem("", str(error))]) from None
    except yaml.YAMLError as error:
        raise ConfigError(source, [Problem("", _told(error))]) from None
    return builder.root, builder.problems


def is_text(text: str) -> bool:
    """Whether an unquoted scalar is read as the text that it is."""
    try:
        return isinstance(resolve_scalar(text), str)
    except _Refused:
        return False


def resolve_scalar(text: str) -> Any:
    """The value of an unquoted scalar, by the core schema of YAML 1.2."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text) or _BASED.fullmatch(text):
        if len(text) > _MAX_DIGITS:
            raise _Refused(f"the number {shown(text)} has too many digits")
        return int(text, 0) if _BASED.fullmatch(text) else int(text)
    if _FLOAT.fullmatch(text):
        return _number(text)
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Refused(f"the number {shown(text)} is too large to be held: at most 1.79e308")
    if value == 0 and re.search("[1-9]", re.split("[eE]", text)[0]):
        raise _Refused(f"the number {shown(text)} is too small to be told from 0: at least 2.3e-308")
    return value


class _Builder:
    """Builds the value of a document from the parser's events, with an explicit stack."""

    def __init__(self) -> None:
        self.root: Any = None
        self.problems: list[Problem] = []
        self._frames: list[_Frame] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = 0
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 0
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise _Refused(f"a second document starts in line {line}; one experiment a file")
            case yaml.ScalarEvent():
                self._count(1, line)
                self._add(_scalar(event, line), event.anchor, 1, line)
            case yaml.AliasEvent():
                value, size = self._aliased(str(event.anchor), line)
                self._count(size, line)
                self._add(value, None, size, line)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._open(event, line)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                frame = self._frames.pop()
                self._add(frame.value, frame.anchor, self._nodes - frame.before, line)

    def _open(self, event: yaml.SequenceStartEvent | yaml.MappingStartEvent, line: int) -> None:
        is_map = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", _TAG + ("map" if is_map else "seq")):
            raise _Refused(
                f"the tag {_short(event.tag)} in line {line} is refused: only plain values are read"
            )
        if len(self._frames) >= MAX_DEPTH:
            raise _Refused(f"more than {MAX_DEPTH} levels of nesting, in line {line}")
        if self._waits_for_key():
            raise _Refused(f"a key must be text, not a {'mapping' if is_map else 'list'} (line {line})")
        before = self._nodes
        self._count(1, line)
        self._frames.append(_Frame({} if is_map else [], event.anchor, before))

    def _add(self, value: Any, anchor: str | None, size: int, line: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (value, size)
        if not self._frames:
            self.root = value
            return
        frame = self._frames[-1]
        if isinstance(frame.value, list):
            frame.value.append(value)
        elif frame.key is None:
            self._take_key(frame, value, line)
        else:
            if not frame.skips:
                frame.value[frame.key] = value
            frame.key, frame.skips = None, False

    def _take_key(self, frame: _Frame, key: Any, line: int) -> None:
        if not isinstance(key, str):
            raise _Refused(f"a key must be text (got {shown(key)} in line {line}): put it in quotes")
        if key == "<<":
            raise _Refused(f"the merge key '<<' in line {line} is not supported: write the keys out")
        frame.key, frame.skips = key, key in frame.lines
        if frame.skips:
            path = ".".join([*(f.key for f in self._frames[:-1] if f.key is not None), key])
            self.problems.append(
                Problem(path, f"the key {shown(key)} stands twice, in lines {frame.lines[key]} and {line}")
            )
        frame.lines.setdefault(key, line)

    def _waits_for_key(self) -> bool:
        return (
            bool(self._frames) and isinstance(self._frames[-1].value, dict) and self._frames[-1].key is None
        )

    def _count(self, nodes: int, line: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise _Refused(f"more than {MAX_NODES:,} values, aliases written out, by line {line}")

    def _aliased(self, anchor: str, line: int) -> tuple[Any, int]:
        if anchor not in self._anchors:
            raise _Refused(f"the alias *{_short(anchor)} in line {line} refers to nothing complete before it")
        return self._anchors[anchor]


def _scalar(event: yaml.ScalarEvent, line: int) -> Any:
    plain = event.style is None
    if event.tag is None or event.tag == "!":
        return _resolved(event.value, line) if plain and event.tag is None else event.value
    name = event.tag.removeprefix(_TAG)
    if name == event.tag or name not in _SCALAR_TAGS:
        raise _Refused(f"the tag {_short(event.tag)} in line {line} is refused: only plain values are read")
    if name == "str":
        return event.value
    value = _resolved(event.value, line)
    if not _SCALAR_TAGS[name](value):
        raise _Refused(f"{shown(event.value)} in line {line} is tagged !!{name}, which it is not")
    return float(value) if name == "float" else value


def _resolved(text: str, line: int) -> Any:
    try:
        return resolve_scalar(text)
    except _Refused as error:
        raise _Refused(f"{error} (line {line})") from None


def _short(text: str | None) -> str:
    return shown((text or "").replace(_TAG, "!!"))


def _told(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        problem = getattr(error, "problem", None) or getattr(error, "context", None)
        return f"is not YAML: {problem}, in line {mark.line + 1}, column {mark.column + 1}"
    code, position = getattr(error, "character", 0), getattr(error, "position", 0)
    character = chr(code) if isinstance(code, int) else code
    return f"is not YAML: the character {character!r} at offset {position} is not allowed in it"
