"""A component of an experiment: the name of a plug-in, and the keys that it is given.

Each is checked against the plug-in's signature as the experiment is made, and the defaults of its
signature are filled in; so an experiment holds all that its run depends on.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, ValidationError, core_schema

from nnray import registry
from nnray.config.component_schema import component_schema
from nnray.errors import Problem


class Section(BaseModel):
    """A part of an experiment: frozen, without unknown keys, its values never converted."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        validate_default=True,
        populate_by_name=False,
        hide_input_in_errors=False,
    )


class Component(Section):
    """A plug-in by name, with its keys.

    Args:
        name: A name of the catalog, or ``module:function`` for code of your own.
    """

    model_config = ConfigDict(extra="allow")

    name: str

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keys beside the name, those that were given and the defaults."""
        return dict(self.model_extra or {})

    @property
    def component(self) -> Component:
        """Name and keys alone, without the fields that a section adds to them."""
        alone = Component(name=self.name)
        given = self.model_fields_set - type(self).model_fields.keys()
        return _with_keys(alone, self.kwargs, given=given | {"name"})


@dataclass(frozen=True, slots=True)
class Kind:
    """Marks a field as a component of one kind.

    Args:
        kind: Such as ``model``.
    """

    kind: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        inner = core_schema.no_info_before_validator_function(self._long_form, handler(source))
        return core_schema.with_info_after_validator_function(self._complete, inner)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        plain = handler.resolve_ref_schema(handler(schema))
        explained = registry.read_help(inspect.cleandoc(plain.get("description", "")))
        own = {
            key: {**value, "description": explained.get(key, "")}
            for key, value in plain.get("properties", {}).items()
            if key != "name"
        }
        return component_schema(self.kind, own=own)

    def _long_form(self, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if type(value) is Component:  # of a field that may have keys of its own beside the plug-in's
            given = {"name": value.name, **value.kwargs}
            return {key: given[key] for key in given if key in value.model_fields_set}
        if isinstance(value, Mapping | Component):
            return value
        allowed = f"the name of {registry.a(self.kind)}, or {{name: ..., ...}}"
        raise failure(f"must be {allowed} (got {registry.shown(value)})")

    def _complete(self, value: Component, info: ValidationInfo) -> Component:
        fields, given = type(value).model_fields, {"name": value.name, **value.kwargs}
        search = (info.context or {}).get("search", ())
        filled, problems = registry.check(self.kind, given, search=search, also=fields)
        if problems:
            raise ValidationError.from_exception_data(self.kind, [_line(p, given) for p in problems])
        return _with_keys(value, filled, given=value.model_fields_set)


def failure(message: str) -> PydanticCustomError:
    """An error with a message that stands as it is."""
    return PydanticCustomError("nnray", "{message}", {"message": message})


def _with_keys(component: Component, keys: dict[str, Any], *, given: set[str]) -> Component:
    """A copy with other keys; ``given`` are those that were not filled in."""
    copy = component.model_copy()
    object.__setattr__(copy, "__pydantic_extra__", keys)
    object.__setattr__(copy, "__pydantic_fields_set__", set(given))
    return copy


def _line(problem: Problem, given: Mapping[str, Any]) -> InitErrorDetails:
    error = failure(problem.message)
    return InitErrorDetails(type=error, loc=(problem.path,), input=given.get(problem.path))
