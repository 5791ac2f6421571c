"""Checks a component of a file against the plug-in that it names, importing nothing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from nnray.errors import Problem, suggestion
from nnray.registry.lookup import is_user_code, read
from nnray.registry.signatures import RUNTIME, Parameter, Signature, adapter
from nnray.registry.source import Unreadable
from nnray.registry.wording import a, describe, must_be, shown

POSITIONAL: Mapping[str, tuple[str, ...]] = {
    "dataset": (),
    "augmentation": ("info",),
    "model": ("info",),
    "task": ("info",),
    "loss": ("task",),
    "optimizer": ("params",),
    "schedule": ("optimizer",),
    "searcher": ("metric", "mode", "seed"),
    "scheduler": ("metric", "mode", "seed"),
    "partition": ("labels", "num_clients", "rng"),
    "sampler": ("num_clients", "rng"),
    "strategy": (),
    "device": ("num_clients", "rng"),
    "aggregator": (),
    "client_attack": ("info",),
    "codec": (),
    "explainer": ("info",),
    "compressor": (),
    "attack": (),
    "corruption": (),
}
"""What nnray hands to a plug-in of each kind, by position."""


_MOST = 100
"""Unknown keys told of one component."""


def renamed(
    kind: str,
    component: Mapping[str, Any],
    *,
    name: str,
    search: Sequence[str] = (),
    drop_unknown: bool = False,
) -> dict[str, Any]:
    """A component with another name, and those of its keys that mean something under it.

    A key goes if it said no more than the old plug-in's default and the new one doesn't know it;
    what was chosen on purpose stays, and is an error if the new one doesn't take it.

    Args:
        kind: Kind of plug-in.
        component: ``name`` and the keys beside it.
        name: The new name.
        search: Further folders to find user code in.
        drop_unknown: Have all keys go that the new one doesn't take, as where a sweep tries it.
    """
    try:
        old_signature = read(kind, str(component.get("name")), search=search)
        new_signature = read(kind, name, search=search)
    except Unreadable:
        return {**component, "name": name}
    old, new = old_signature.parameters, new_signature.parameters
    idle = {
        key
        for key, value in component.items()
        if key in old and key not in new and not old[key].required and plain(old[key].default) == value
    }
    if drop_unknown and not new_signature.is_open:
        idle |= {key for key in component if key not in new and (key in old or old_signature.is_open)}
    return {"name": name} | {k: v for k, v in component.items() if k not in idle and k != "name"}


def problems(
    kind: str,
    component: Mapping[str, Any],
    *,
    path: str = "",
    search: Sequence[str] = (),
    also: Iterable[str] = (),
) -> list[Problem]:
    """All that is wrong with a component.

    Args:
        kind: Kind of plug-in that is meant.
        component: ``name`` and the keys beside it.
        path: Dotted path of the component, to be put before each problem's own.
        search: Further folders to find user code in.
        also: Keys that are allowed here though the plug-in doesn't take them, for suggestions.
    """
    return check(kind, component, path=path, search=search, also=also)[1]


def check(
    kind: str,
    component: Mapping[str, Any],
    *,
    path: str = "",
    search: Sequence[str] = (),
    also: Iterable[str] = (),
) -> tuple[dict[str, Any], list[Problem]]:
    """The keys of a component with all defaults filled in, and all that is wrong with it.

    Args:
        kind: As in `problems`, like all others.
    """
    name = component.get("name")
    if not isinstance(name, str):
        return {}, [Problem(_join(path, "name"), f"must be the name of {a(kind)} (got {shown(name)})")]
    try:
        known = read(kind, name, search=search)
    except Unreadable as error:
        return {}, [Problem(_join(path, "name"), str(error))]
    given = {key: value for key, value in component.items() if key != "name"}
    found = _uncallable(kind, name, known, path)
    filled: dict[str, Any] = {}
    for key, parameter in known.parameters.items():
        if key in given or parameter.required:
            found += _take(given, parameter, path, filled)
        elif not parameter.computed:
            filled[key] = plain(parameter.default)
    for key in [key for key in given if key not in known.parameters][:_MOST]:
        if known.is_open and key not in RUNTIME:
            filled[key] = given[key]
        else:
            found.append(Problem(_join(path, key), _unknown(kind, name, key, known, also)))
    order = {key: place for place, key in enumerate(component)}
    place_of = {_join(path, key): place for key, place in order.items()}
    return filled, sorted(found, key=lambda problem: place_of.get(problem.path, len(order)))


def plain(value: Any) -> Any:
    """A value as YAML holds it: tuples become lists."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def value_problem(parameter: Parameter, value: Any) -> str | None:
    """What is wrong with a value of a parameter; None where it is fine."""
    try:
        adapter(parameter).validate_python(value)
    except ValidationError:
        return must_be(parameter.type, value)
    return None


def value_schema(parameter: Parameter) -> dict[str, Any]:
    """The JSON schema of a parameter's values."""
    return adapter(parameter).json_schema()


def _take(given: Mapping[str, Any], parameter: Parameter, path: str, into: dict[str, Any]) -> list[Problem]:
    where = _join(path, parameter.name)
    if parameter.name not in given:
        return [Problem(where, f"is missing; it must be {describe(parameter.type)}")]
    value = given[parameter.name]
    try:
        into[parameter.name] = plain(adapter(parameter).validate_python(value))
    except ValidationError:
        return [Problem(where, must_be(parameter.type, value) + _near(parameter.type, value))]
    return []


def _near(hint: Any, value: Any) -> str:
    choices = [choice for choice in getattr(hint, "__args__", ()) if isinstance(choice, str)]
    near = difflib.get_close_matches(value, choices, n=1) if isinstance(value, str) else []
    return f"; did you mean {near[0]!r}?" if near else ""


def _unknown(kind: str, name: str, key: str, known: Signature, also: Iterable[str]) -> str:
    if key in RUNTIME:
        return f"is given by nnray at run time and can't be set for {kind} {name!r}"
    if key in known.positional:
        given = POSITIONAL.get(kind, ())
        if known.positional.index(key) >= len(given):
            start = ", ".join((*given, "*", key))
            return f"is no key, because it may be given by position: write {name}({start}, ...)"
    return f"unknown key for {kind} {name!r}; {suggestion(key, {*known.parameters, *also})}"


def _uncallable(kind: str, name: str, known: Signature, path: str) -> list[Problem]:
    """Whether nnray's own arguments fit; of user code only, for the catalog's is tested."""
    given = POSITIONAL.get(kind, ())
    fits = known.least <= len(given) and (known.most is None or len(given) <= known.most)
    if fits or not is_user_code(name) or (known.is_open and not known.positional):
        return []
    expected = ", ".join((*given, "*", "..."))
    taken = ", ".join(known.positional)
    message = f"{name!r} can't be called as {a(kind)}: it must be def f({expected}), not f({taken}, ...)"
    return [Problem(_join(path, "name"), message)]


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
