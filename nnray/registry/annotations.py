"""Turns an annotation in source into a type that pydantic can check, without running it.

Known are the builtins, ``nnray.fields``, ``Literal``, ``Annotated`` with bounds, ``Optional``,
unions, lists, tuples and mappings of these, and names that a module gives to any of them.
Whatever is not known accepts every value: the function itself must check it.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union

from pydantic import Field, Strict

from nnray import fields
from nnray.registry.source import STEPS, Module, Unreadable, define

_PLAIN: Mapping[str, Any] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "None": None,
    "list": list[Any],
    "List": list[Any],
    "Sequence": list[Any],
    "dict": dict[str, Any],
    "Dict": dict[str, Any],
    "Mapping": dict[str, Any],
    "tuple": Annotated[tuple[Any, ...], Strict(False)],
    "Tuple": Annotated[tuple[Any, ...], Strict(False)],
    "Path": str,
    "PathLike": str,
}
_BOUNDS = {"gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "allow_inf_nan"}
_TEST_OF = {"Gt": "gt", "Ge": "ge", "Lt": "lt", "Le": "le", "MinLen": "min_length", "MaxLen": "max_length"}


def read_annotation(node: ast.expr | None, module: Module, *, steps: int = STEPS) -> Any:
    """The type that an annotation means; ``Any`` where it can't be told from the source."""
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str(text)):
            return _parsed(text, module, steps)
        case ast.Name(id=name):
            return _PLAIN[name] if name in _PLAIN else _named(name, module, steps)
        case ast.Attribute(attr=name):
            return _PLAIN.get(name, getattr(fields, name, Any) if name[:1].isupper() else Any)
        case ast.BinOp(op=ast.BitOr(), left=left, right=right):
            sides = [read_annotation(side, module, steps=steps) for side in (left, right)]
            return Any if Any in sides else Union[tuple(sides)]  # noqa: UP007 - made at run time
        case ast.Subscript(value=base, slice=inner):
            return _subscript(_last_name(base), _items(inner), module, steps)
    return Any


def read_constant(node: ast.expr, module: Module, *, steps: int = STEPS) -> Any:
    """The value of a literal, or of a name that a module binds to one.

    Raises:
        ValueError: It is computed, so only running the code would tell.
    """
    if isinstance(node, ast.Name) and steps:
        try:
            found = define(module, node.id, steps=steps)
        except Unreadable as error:
            raise ValueError(str(error)) from None
        value = getattr(found[1], "value", None) if found else None
        if found and isinstance(value, ast.expr):
            return read_constant(value, found[0], steps=steps - 1)
    try:
        return ast.literal_eval(node)
    except (TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"not a literal: {error}") from None


def _parsed(text: str, module: Module, steps: int) -> Any:
    try:
        return read_annotation(ast.parse(text, mode="eval").body, module, steps=steps - 1) if steps else Any
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Any


def _named(name: str, module: Module, steps: int) -> Any:
    try:
        found = define(module, name, steps=steps) if steps else None
    except Unreadable:
        return Any
    value = getattr(found[1], "value", None) if found else None
    if not found or not isinstance(value, ast.expr):
        return Any
    return read_annotation(value, found[0], steps=steps - 1)


def _subscript(base: str, items: list[ast.expr], module: Module, steps: int) -> Any:
    def inner(node: ast.expr) -> Any:
        return read_annotation(node, module, steps=steps)

    match base:
        case "Literal":
            values = tuple(item.value for item in items if isinstance(item, ast.Constant))
            return Literal[values] if len(values) == len(items) else Any
        case "Optional" | "Union":
            sides = [inner(item) for item in items] + ([None] if base == "Optional" else [])
            return Any if Any in sides else Union[tuple(sides)]  # noqa: UP007
        case "list" | "List" | "Sequence" | "Iterable":
            return list[inner(items[0])]  # type: ignore[misc]
        case "dict" | "Dict" | "Mapping" if len(items) == 2:
            return dict[str, inner(items[1])]  # type: ignore[misc]
        case "tuple" | "Tuple":
            types = tuple(... if _is_dots(item) else inner(item) for item in items)
            return Annotated[tuple[types], Strict(False)]  # type: ignore[valid-type]
        case "Annotated":
            return Annotated[inner(items[0]), Field(**_bounds(items[1:], module))]
    return Any


def _bounds(nodes: list[ast.expr], module: Module) -> dict[str, Any]:
    """The bounds in the metadata of an ``Annotated``: of ``Field(...)`` or of annotated-types."""
    bounds: dict[str, Any] = {}
    for node in nodes:
        if not isinstance(node, ast.Call):
            continue
        named = [(keyword.arg, keyword.value) for keyword in node.keywords if keyword.arg in _BOUNDS]
        test = _TEST_OF.get(_last_name(node.func))
        for name, value in [*named, *([(test, node.args[0])] if test and node.args else [])]:
            try:
                bounds[str(name)] = read_constant(value, module)
            except ValueError:
                continue
    return bounds


def _items(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _last_name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", "")


def _is_dots(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...
