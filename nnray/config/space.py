"""Checks a sweep's space before a trial starts: each path names a field, each end is allowed there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from nnray import registry
from nnray.config.conditions import allows, options, when_problems
from nnray.config.paths import child, get, hints_of, kind_of, section_of
from nnray.config.ranges import Range
from nnray.errors import ConfigError, Problem, suggestion

FIXED = ("name", "sweep", "tracking")
"""Fields that belong to the sweep as a whole: no trial can change them."""

MOST = 200
"""Paths of a space that are checked, as many as a space may have; and problems told of points."""

Check = Callable[[Any], str | None]
"""Says what is wrong with a value; None where it is fine."""


class NoField(Exception):
    """A path that names no field; the message says what there is instead."""


def space_problems(experiment: type[BaseModel], values: Any, *, search: Sequence[str]) -> list[Problem]:
    """All that is wrong with the paths, ranges and points of an experiment's sweep.

    Args:
        experiment: The type of the experiment.
        values: What it was made from; problems within that are told elsewhere.
        search: Further folders to find user code in.
    """
    sweep = get(values, "sweep")
    given = get(sweep, "space")
    if not isinstance(given, Mapping):
        return []
    space = {path: _range(value) for path, value in list(given.items())[:MOST] if isinstance(path, str)}
    fields = _Fields(experiment, values, space, tuple(search))
    found: list[Problem] = []
    for path, range_ in space.items():
        where = f"sweep.space.{path}"
        try:
            checks = fields.checks(path)
        except NoField as error:
            found.append(Problem(where, f"names no field: {error}"))
            continue
        problems = [check(value) for value in (range_.samples if range_ else ()) for check in checks]
        found += [
            Problem(where, f"{range_.kind}: {text}") for text in dict.fromkeys(problems) if range_ and text
        ]
    wrong = list(islice(when_problems(space), MOST))
    tried = {} if wrong else {path: range_ for path, range_ in space.items() if range_}
    return [*found, *wrong, *islice(_point_problems(get(sweep, "points"), space, tried), MOST)]


def _range(value: Any) -> Range | None:
    """What may be tried; None where that is wrong in itself, which is told elsewhere."""
    try:
        return Range.model_validate(value)
    except ValidationError:
        return None


def _point_problems(
    points: Any, space: Mapping[str, Range | None], tried: Mapping[str, Range]
) -> Iterator[Problem]:
    for place, point in enumerate(points if isinstance(points, list) else ()):
        if not isinstance(point, Mapping):
            continue
        yield from _idle_problems(f"sweep.points.{place}", point, tried)
        for path, value in point.items():
            where, range_ = f"sweep.points.{place}.{path}", space.get(path)
            if path not in space:
                yield Problem(where, f"is not in sweep.space; {suggestion(str(path), space)}")
            elif range_ and not range_.holds(value):
                allowed = f"{range_.kind} {registry.shown(range_.samples)}"
                yield Problem(where, f"must be in its range, {allowed} (got {registry.shown(value)})")


def _idle_problems(where: str, point: Mapping[Any, Any], tried: Mapping[str, Range]) -> Iterator[Problem]:
    """Values that others of their point exclude."""
    for path in point:
        for other, when in tried[path].when.items() if path in tried else ():
            if other in point and other in tried and not allows(when, point[other], other=tried[other]):
                told = f"{other} is {registry.shown(when)} (it is {registry.shown(point[other])} here)"
                yield Problem(f"{where}.{path}", f"is tried only where {told}: leave it out")


@dataclass(frozen=True, slots=True)
class _Fields:
    """The fields of one experiment: its components decide which paths there are."""

    experiment: type[BaseModel]
    values: Any
    space: Mapping[str, Range | None]
    search: tuple[str, ...]

    def checks(self, path: str) -> list[Check]:
        """What a value at a path must pass: one check for each component that may stand there.

        Raises:
            NoField: The path names none.
        """
        keys = path.split(".")
        owner: type[BaseModel] | None = None
        hint, value = self.experiment, self.values
        for place, key in enumerate(keys):
            above = ".".join(keys[:place])
            kind, inner = kind_of(hint), child(hint, key)
            if not above and key in FIXED:
                raise NoField(f"{key!r} belongs to the sweep as a whole and can't be searched")
            if kind and (key == "name" or inner is None):
                return self._component_checks(kind, (value, hint), above, ".".join(keys[place:]))
            if inner is None:
                raise NoField(_unknown(hint, above, key))
            owner, value, hint = section_of(hint), _below(value, hint, key), inner
        if section_of(hint) is not None:
            raise NoField(f"it is a whole section; one of its fields is {path}.{_first(hint)}")
        return [_field_check(owner, keys[-1], hint)]

    def _component_checks(self, kind: str, found: tuple[Any, Any], above: str, key: str) -> list[Check]:
        component, hint = found
        if component is None:
            raise NoField(f"there is no {above}")
        keys = _keys(component, hint)
        if key == "name":
            return [lambda value: self._name_problem(kind, value, keys)]
        chooser = f"{above}.name"
        if not self.space.get(chooser):
            return self._key_checks(kind, keys.get("name"), key)
        names = options(f"{above}.{key}", chooser, space=self.space)
        advice = f"; say where it is tried, such as when: {{{chooser}: ...}}"
        return [check for name in names for check in self._key_checks(kind, name, key, advice=advice)]

    def _key_checks(self, kind: str, name: Any, key: str, *, advice: str = "") -> list[Check]:
        try:
            known = registry.signature(kind, str(name), search=self.search)
        except ConfigError:
            return []
        if key in known.parameters:
            parameter = known.parameters[key]
            return [lambda value: registry.value_problem(parameter, value)]
        if known.is_open and key not in registry.RUNTIME:
            return []
        raise NoField(f"{kind} {name!r} has no {key!r}; {suggestion(key, known.parameters)}{advice}")

    def _name_problem(self, kind: str, value: Any, keys: Mapping[str, Any]) -> str | None:
        if not isinstance(value, str):
            return f"must be the name of {registry.a(kind)} (got {registry.shown(value)})"
        renamed = registry.renamed(kind, keys, name=value, search=self.search, drop_unknown=True)
        found = registry.problems(kind, renamed, search=self.search)
        return "; ".join(f"with {value!r}, {problem}" for problem in found) or None


def _keys(component: Any, hint: Any) -> dict[str, Any]:
    """Name and keys as they were given: without defaults, and without a section's own fields."""
    if isinstance(component, BaseModel):
        given = {"name": get(component, "name"), **(component.model_extra or {})}
        return {key: value for key, value in given.items() if key in component.model_fields_set}
    if not isinstance(component, Mapping):
        return {"name": component}
    section = section_of(hint)
    own = section.model_fields.keys() - {"name"} if section else set()
    return {key: value for key, value in component.items() if key not in own}


def _below(value: Any, hint: Any, key: str) -> Any:
    """What stands behind a key, or the default where nothing does."""
    found, section = get(value, key), section_of(hint)
    if found is None and section is not None and key in section.model_fields:
        default = section.model_fields[key].default
        return default if isinstance(default, BaseModel) else None
    return found


def _field_check(owner: type[BaseModel] | None, key: str, hint: Any) -> Check:
    def check(value: Any) -> str | None:
        try:
            adapter = _adapter(owner, key) if owner else TypeAdapter(hint, config=ConfigDict(strict=True))
            adapter.validate_python(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            own: str | None = first["ctx"]["message"] if first["type"] == "nnray" else None
            return own or registry.must_be(hint, value)
        return None

    return check


@lru_cache(maxsize=128)
def _adapter(section: type[BaseModel], key: str) -> TypeAdapter[Any]:
    return TypeAdapter(hints_of(section)[key], config=ConfigDict(strict=True))


def _unknown(hint: Any, above: str, key: str) -> str:
    section = section_of(hint)
    if section is None:
        return f"{above} is a value without fields"
    names = [name for name in hints_of(section) if above or name not in FIXED]
    return f"{above or 'an experiment'} has no {key!r}; {suggestion(key, names)}"


def _first(hint: Any) -> str:
    section = section_of(hint)
    return next(iter(hints_of(section))) if section else ""
