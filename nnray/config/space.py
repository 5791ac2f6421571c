"""Checks a sweep's space before a trial starts: each path names a field, each end is allowed there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from nnray import registry
from nnray.config.paths import child, get, hints_of, kind_of, section_of
from nnray.config.sections import SweepConfig
from nnray.errors import ConfigError, Problem, suggestion

FIXED = ("name", "sweep", "tracking")
"""Fields that belong to the run as a whole: no trial can change them."""

Check = Callable[[Any], str | None]
"""Says what is wrong with a value; None where it is fine."""


class NoField(Exception):
    """A path that names no field; the message says what there is instead."""


def space_problems(experiment: type[BaseModel], values: Any, search: Sequence[str]) -> list[Problem]:
    """All that is wrong with the paths, ranges and points of an experiment's sweep.

    Args:
        experiment: The type of the experiment.
        values: What it was, or is to be, made from; problems within are told elsewhere.
        search: Further folders to find user code in.
    """
    try:
        sweep = SweepConfig.model_validate(get(values, "sweep"), context={"search": search})
    except ValidationError:
        return []
    fields = _Fields(experiment, values, sweep, tuple(search))
    found: list[Problem] = []
    for path, range_ in sweep.space.items():
        where = f"sweep.space.{path}"
        try:
            checks = fields.checks(path)
        except NoField as error:
            found.append(Problem(where, str(error)))
            continue
        problems = (check(value) for value in range_.samples for check in checks)
        found += [Problem(where, f"{range_.kind}: {text}") for text in dict.fromkeys(problems) if text]
    return found + _point_problems(sweep)


def _point_problems(sweep: SweepConfig) -> list[Problem]:
    found = []
    for place, point in enumerate(sweep.points):
        for path, value in point.items():
            where = f"sweep.points.{place}.{path}"
            range_ = sweep.space.get(path)
            if range_ is None:
                found.append(Problem(where, f"is not in sweep.space; {suggestion(path, sweep.space)}"))
            elif not range_.holds(value):
                allowed = f"{range_.kind} {registry.shown(range_.samples)}"
                found.append(Problem(where, f"must be in its range, {allowed} (got {registry.shown(value)})"))
    return found


@dataclass(frozen=True, slots=True)
class _Fields:
    """The fields of one experiment, whose components decide which paths there are."""

    experiment: type[BaseModel]
    values: Any
    sweep: SweepConfig
    search: tuple[str, ...]

    def checks(self, path: str) -> list[Check]:
        """What a value at a path must pass: once for each component that may stand there.

        Raises:
            NoField: The path names none.
        """
        keys = path.split(".")
        if keys[0] in FIXED:
            raise NoField(f"{keys[0]!r} belongs to the whole sweep and can't be searched")
        hint, value = self.experiment, self.values
        for place, key in enumerate(keys):
            kind, above = kind_of(hint), ".".join(keys[:place])
            inner = child(hint, key)
            if kind and (inner is None or key == "name"):
                return self._component_checks(kind, value, above, ".".join(keys[place:]))
            if inner is None or not key:
                raise NoField(_unknown(hint, above, key))
            if not isinstance(value, BaseModel | Mapping | list | None):
                return []
            value = _or_default(get(value, key), hint, key)
            if isinstance(value, list | None) and section_of(hint) is None and value is None:
                raise NoField(f"names no field: {above} has no item {key}")
            hint = inner
        if section_of(hint) is not None:
            raise NoField(f"names a whole section: name one of its fields, such as {path}.{_first(hint)}")
        return [_field_check(hint)]

    def _component_checks(self, kind: str, component: Any, above: str, key: str) -> list[Check]:
        name = component if isinstance(component, str) else get(component, "name")
        if key == "name":
            return [lambda value: self._name_problem(kind, value, component)]
        swept = self.sweep.space.get(f"{above}.name")
        checks: list[Check] = []
        if isinstance(component, list | int | float):
            return checks
        for option in swept.choice or [] if swept else [name]:
            try:
                known = registry.signature(kind, option, search=self.search)
            except (ConfigError, TypeError, AttributeError):
                continue
            if key in known.parameters:
                checks.append(_key_check(known.parameters[key]))
            elif not known.is_open:
                near = suggestion(key, known.parameters)
                raise NoField(f"names no field: {kind} {option!r} has no {key!r}; {near}")
        return checks

    def _name_problem(self, kind: str, value: Any, component: Any) -> str | None:
        if not isinstance(value, str):
            return f"must be the name of a {kind} (got {registry.shown(value)})"
        renamed = registry.renamed(kind, _keys(component), value, search=self.search)
        found = registry.problems(kind, renamed, search=self.search)
        return "; ".join(f"with {value!r}, {problem}" for problem in found) or None


def _keys(component: Any) -> dict[str, Any]:
    """The component as it was given: name and keys, without defaults and a section's own fields."""
    if isinstance(component, str):
        return {"name": component}
    if isinstance(component, BaseModel):
        fields = type(component).model_fields.keys() - {"name"}
        everything = {"name": get(component, "name")} | (component.model_extra or {})
        return {k: v for k, v in everything.items() if k in component.model_fields_set and k not in fields}
    return dict(component)


def _or_default(value: Any, hint: Any, key: str) -> Any:
    section = section_of(hint)
    if value is None and section is not None and key in section.model_fields:
        return section.model_fields[key].get_default(call_default_factory=False) or None
    return value


def _key_check(parameter: registry.Parameter) -> Check:
    return lambda value: registry.value_problem(parameter, value)


def _field_check(hint: Any) -> Check:
    def check(value: Any) -> str | None:
        try:
            _adapter(hint).validate_python(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            message = first.get("ctx", {}).get("message") if first["type"] == "nnray" else None
            return message or registry.must_be(hint, value)
        return None

    return check


def _adapter(hint: Any) -> TypeAdapter[Any]:
    try:
        return _kept_adapter(hint)
    except TypeError:
        return TypeAdapter(hint, config=ConfigDict(strict=True))


@lru_cache(maxsize=128)
def _kept_adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint, config=ConfigDict(strict=True))


def _unknown(hint: Any, above: str, key: str) -> str:
    section = section_of(hint)
    if section is None:
        return f"names no field: {above} is a value without fields"
    names = [name for name in hints_of(section) if above or name not in FIXED]
    return f"names no field: {above or 'an experiment'} has no {key!r}; {suggestion(key, names)}"


def _first(hint: Any) -> str:
    section = section_of(hint)
    return next(iter(hints_of(section))) if section else ""
