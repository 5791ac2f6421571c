"""Says in plain words what a type allows and what was given instead."""

from __future__ import annotations

import re
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

_WORDS: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    str: "text",
    bool: "true or false",
    None: "null",
}
_MOST = 60


def describe(hint: Any) -> str:
    """What a type allows, as the end of the sentence "it must be ..."."""
    base, limits = _unwrap(hint)
    origin, args = get_origin(base), get_args(base)
    if "description" in limits:
        return str(limits["description"])
    if base in (None, type(None)):
        return "null"
    if origin in (Union, types.UnionType):
        between = ", or " if any(get_origin(bare(arg)) in (list, tuple) for arg in args) else " or "
        return between.join(describe(arg) for arg in args)
    if origin is Literal:
        return _one_of(args)
    if origin in (list, tuple):
        return _describe_list(args)
    if origin is dict or base is dict:
        return "keys with values"
    if isinstance(base, type) and base in _WORDS:
        return _bounded(base, limits)
    return "a mapping of keys" if hasattr(base, "model_fields") else "any value"


def shown(value: Any) -> str:
    """A value as it goes into a message, cut where it is long."""
    text = {None: "null", True: "true", False: "false"}.get(value) if _is_flag(value) else None
    text = text or repr(value)
    return text if len(text) <= _MOST else f"{text[: _MOST - 3]}..."


def a(noun: str) -> str:
    """A noun with its article."""
    return f"an {noun}" if noun[:1] in "aeiou" else f"a {noun}"


def plural(noun: str) -> str:
    """A noun for several: ``models``, ``strategies``."""
    if noun.endswith("y"):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"


def must_be(hint: Any, value: Any) -> str:
    """The message for a value that its type doesn't allow."""
    return f"must be {describe(hint)} (got {shown(value)})"


def _is_flag(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def bare(hint: Any) -> Any:
    """A type without its metadata."""
    return _unwrap(hint)[0]


def _unwrap(hint: Any) -> tuple[Any, dict[str, Any]]:
    """A type without its metadata, and the bounds that stood there."""
    limits: dict[str, Any] = {}
    while get_origin(hint) is Annotated:
        hint, *metadata = get_args(hint)
        for item in metadata:
            if isinstance(item, FieldInfo) and item.description:
                limits["description"] = item.description
            _collect(item.metadata if isinstance(item, FieldInfo) else [item], limits)
    return hint, limits


def _collect(items: Iterable[Any], limits: dict[str, Any]) -> None:
    for item in items:
        for name in ("gt", "ge", "lt", "le", "allow_inf_nan"):
            if (value := getattr(item, name, None)) is not None:
                limits[name] = value
        if isinstance(item, annotated_types.MultipleOf):
            limits["multiple_of"] = item.multiple_of


def _bounded(base: type, limits: dict[str, Any]) -> str:
    word = _WORDS[base]
    if limits.get("allow_inf_nan") is False:
        word = "a finite number"
    below, above = limits.get("lt", limits.get("le")), limits.get("gt", limits.get("ge"))
    low = "" if above is None else f"above {above:g}" if "gt" in limits else f"at least {above:g}"
    high = "" if below is None else f"below {below:g}" if "lt" in limits else f"at most {below:g}"
    if low and high and "ge" in limits and "le" in limits:
        low, high = f"from {above:g} to {below:g}", ""
    multiple = f"a multiple of {limits['multiple_of']}" if "multiple_of" in limits else ""
    bounds = " and ".join(part for part in (low, high, multiple) if part)
    return f"{word} {bounds}".strip()


def _describe_list(args: tuple[Any, ...]) -> str:
    if not args or args[0] is Any:
        return "a list"
    each = [describe(arg) for arg in args if arg is not ...]
    number = f"{len(each)} " if args[-1] is not ... and len(args) > 1 else ""
    if len(set(each)) > 1:
        return f"a list of {number.strip()}: {', '.join(each)}"
    plural = re.sub(r"^an? (finite number|number|integer)\b", rf"{number}\1s", each[0])
    return f"a list of {plural}" if plural != each[0] else f"a list of {number or 'values'}, each {each[0]}"


def _one_of(values: tuple[Any, ...]) -> str:
    listed = ", ".join(str(value) if isinstance(value, str) else shown(value) for value in values)
    return f"one of {listed}" if len(values) > 1 else listed
