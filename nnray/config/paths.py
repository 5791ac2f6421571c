"""Dotted paths: which fields there are, and what stands behind one."""

from __future__ import annotations

import types
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from nnray.config.components import Kind


@lru_cache(maxsize=64)
def hints_of(section: type[BaseModel]) -> Mapping[str, Any]:
    """The keys of a section in a file, with their types."""
    hints = get_type_hints(section, include_extras=True)
    return {info.alias or name: hints[name] for name, info in section.model_fields.items()}


def section_of(hint: Any) -> type[BaseModel] | None:
    """The section that a type stands for, where it is one or null."""
    base = bare(hint)
    return base if isinstance(base, type) and issubclass(base, BaseModel) else None


def kind_of(hint: Any) -> str | None:
    """The kind of component that a type stands for, also where it may be null."""
    while True:
        if get_origin(hint) is Annotated:
            for item in get_args(hint)[1:]:
                if isinstance(item, Kind):
                    return item.kind
            hint = get_args(hint)[0]
        elif hint != (inner := _not_null(hint)):
            hint = inner
        else:
            return None


def bare(hint: Any) -> Any:
    """A type without its metadata, and without null where that is the only other one."""
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif hint != (inner := _not_null(hint)):
            hint = inner
        else:
            return hint


def _not_null(hint: Any) -> Any:
    """What a type is beside null; itself where that is nothing or not one."""
    if get_origin(hint) not in (Union, types.UnionType):
        return hint
    others = [arg for arg in get_args(hint) if arg is not type(None)]
    return others[0] if len(others) == 1 else hint


def child(hint: Any, key: str | int) -> Any:
    """The type behind a key or an index; None where nothing is known there."""
    section, base = section_of(hint), bare(hint)
    if section is not None:
        return hints_of(section).get(str(key))
    args = get_args(base)
    if get_origin(base) is list and str(key).isdecimal():
        return args[0]
    if get_origin(base) is tuple and isinstance(key, int) and key < len(args):
        return args[key]
    return args[1] if get_origin(base) is dict and isinstance(key, str) else None


def get(value: Any, key: str) -> Any:
    """What stands behind a key of a mapping, a section, or an index of a list."""
    if isinstance(value, Mapping):
        return value.get(key)
    if isinstance(value, BaseModel):
        return (
            getattr(value, key, None) if key in hints_of(type(value)) else (value.model_extra or {}).get(key)
        )
    if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
        return value[int(key)]
    return None
