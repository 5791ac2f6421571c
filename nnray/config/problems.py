"""Tells what pydantic found in nnray's own words: what, the value, what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from nnray.config.paths import bare, child, hints_of, section_of
from nnray.errors import Problem, suggestion
from nnray.registry import describe, must_be

MOST = 100
"""Problems told of one file: what follows is noise, and finding near matches takes time."""


def to_problems(error: ValidationError, section: type[BaseModel]) -> list[Problem]:
    """Every distinct problem of a validation.

    Args:
        error: What pydantic found.
        section: The type that was to be made.
    """
    found = [_problem(line, section) for line in error.errors(include_url=False)[:MOST]]
    return list(dict.fromkeys(found))


def _problem(line: Mapping[str, Any], section: type[BaseModel]) -> Problem:
    location, kind = line["loc"], line["type"]
    if kind == "nnray":
        return Problem(_dotted(location), line["ctx"]["message"])
    if kind == "extra_forbidden":
        _, _, owner = _walk(section, location[:-1])
        return Problem(_dotted(location), f"unknown key; {_allowed(str(location[-1]), owner)}")
    known, _, hint = _walk(section, location)
    if kind == "missing":
        return Problem(_dotted(location), f"is missing; it must be {describe(hint)}")
    return Problem(_dotted(known), must_be(hint, line["input"]) + _near(hint, line["input"]))


def _walk(hint: Any, location: tuple[str | int, ...]) -> tuple[tuple[str | int, ...], Any, Any]:
    """The part of a location that names fields (unions add tags of their own), and its type."""
    parent: Any = None
    for place, key in enumerate(location):
        inner = child(hint, key)
        if inner is None:
            return location[:place], parent, hint
        parent, hint = hint, inner
    return location, parent, hint


def _allowed(key: str, owner: Any) -> str:
    section = section_of(owner)
    return suggestion(key, hints_of(section) if section else ())


def _near(hint: Any, value: Any) -> str:
    choices = [choice for choice in get_args(bare(hint)) if isinstance(choice, str)]
    near = difflib.get_close_matches(value, choices, n=1) if isinstance(value, str) else []
    return f"; did you mean {near[0]!r}?" if near else ""


def _dotted(location: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in location)
