"""Which paths of a space are tried together: ``when``, and what is wrong with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nnray.config.ranges import Range, same
from nnray.errors import Problem, suggestion
from nnray.registry import shown

Space = Mapping[str, Range | None]
"""Paths with their ranges; None where a range is wrong in itself, which is told elsewhere."""


def in_order(space: Mapping[str, Range]) -> list[str]:
    """The paths of a space without circles, each after those that its ``when`` names."""
    order: dict[str, None] = {}

    def add(path: str) -> None:
        if path not in order:
            for other in space[path].when:
                add(other)
            order[path] = None

    for path in space:
        add(path)
    return list(order)


def is_active(path: str, params: Mapping[str, Any], *, space: Mapping[str, Range]) -> bool:
    """Whether a path is tried beside these values; a path that is absent from them is not tried.

    Args:
        path: One of the space.
        params: Values by path, those that ``when`` may name among them.
        space: Without circles.
    """
    return all(
        other in params and allows(when, params[other], other=space[other])
        for other, when in space[path].when.items()
    )


def active(params: Mapping[str, Any], space: Mapping[str, Range]) -> dict[str, Any]:
    """Those of some values that are tried beside each other."""
    found: dict[str, Any] = {}
    for path in in_order(space):
        if path in params and is_active(path, found, space=space):
            found[path] = params[path]
    return {path: found[path] for path in params if path in found}


def allows(when: Any, value: Any, *, other: Range) -> bool:
    """Whether a condition on another path is fulfilled by the value there."""
    return _among(value, wanted(when, other))


def wanted(when: Any, other: Range) -> list[Any]:
    """The values that a condition names: a list that is no value itself stands for each of its own."""
    return when if isinstance(when, list) and not other.holds(when) else [when]


def options(path: str, choice: str, *, space: Space) -> list[Any]:
    """The values of a choice beside which a path may be tried.

    Args:
        path: One of the space.
        choice: A choice of the space.
        space: Its conditions may be wrong, in circles too.
    """
    return _options(path, choice, space, {})


def when_problems(space: Space) -> Iterator[Problem]:
    """All that is wrong with the conditions of a space."""
    for path, range_ in space.items():
        where = f"sweep.space.{path}.when"
        found = [
            Problem(f"{where}.{other}", problem)
            for other, when in (range_.when if range_ else {}).items()
            if (problem := _problem(path, other, when=when, space=space))
        ]
        yield from found
        if not found and (circle := _circle(path, space)):
            yield Problem(where, f"goes in a circle: {' -> '.join(circle)}")


def _problem(path: str, other: str, *, when: Any, space: Space) -> str | None:
    if other not in space:
        return f"is not in sweep.space; {suggestion(other, space)}"
    range_ = space[other]
    if range_ is None:
        return None
    if range_.choice is None:
        return f"must be a choice, for a condition names values (got {range_.kind})"
    values = wanted(when, range_)
    if not values:
        return "is empty: name the values with which it is tried"
    if strange := [value for value in values if not range_.holds(value)]:
        return f"must be among its choices, {shown(range_.choice)} (got {shown(strange[0])})"
    if path != other and not options(path, other, space=space):
        return "is never fulfilled beside the conditions of the paths that it names"
    return None


def _options(path: str, choice: str, space: Space, known: dict[str, list[Any]]) -> list[Any]:
    target, range_ = space.get(choice), space.get(path)
    if target is None or target.choice is None:
        return []
    if path in known:
        return known[path]
    left = known[path] = list(target.choice)  # stands in where a circle comes back here
    for other, when in range_.when.items() if range_ else ():
        if other == choice:
            left = [value for value in left if _among(value, wanted(when, target))]
        elif space.get(other):
            above = _options(other, choice, space, known)
            left = [value for value in left if _among(value, above)]
    known[path] = left
    return left


def _circle(path: str, space: Space) -> tuple[str, ...]:
    """The shortest circle that a path is part of, from it to itself; empty where there is none."""
    trails: deque[tuple[str, ...]] = deque([(path,)])
    seen: set[str] = set()
    while trails:
        trail = trails.popleft()
        range_ = space.get(trail[-1])
        for other in range_.when if range_ else ():
            if other == path:
                return (*trail, other)
            if other not in seen:
                seen.add(other)
                trails.append((*trail, other))
    return ()


def _among(value: Any, values: Sequence[Any]) -> bool:
    return any(same(value, one) for one in values)
