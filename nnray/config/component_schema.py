"""The JSON schema of a component, for editors: which names there are, and which keys each takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nnray import registry

USER_CODE = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"


def component_schema(kind: str, *, own: Mapping[str, Any]) -> dict[str, Any]:
    """One alternative a plug-in, one for code of the user's own, and the short form.

    Args:
        kind: Kind of plug-in.
        own: Schemas of the keys that the section itself adds.
    """
    named = {name: registry.parameters(kind, name) for name in registry.names(kind)}
    short = [name for name, keys in named.items() if not any(key.required for key in keys.values())]
    user = {
        "type": "string",
        "pattern": USER_CODE,
        "description": f"{registry.a(kind).capitalize()} of your own, module:function.",
    }
    return {
        "anyOf": [
            {
                "type": "string",
                "enum": short,
                "description": f"{registry.a(kind).capitalize()} with its defaults.",
            },
            user,
            *(_alternative(kind, name, keys, own) for name, keys in named.items()),
            {"type": "object", "properties": {"name": user, **own}, "required": ["name"]},
        ]
    }


def _alternative(
    kind: str, name: str, keys: Mapping[str, registry.Parameter], own: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "type": "object",
        "title": name,
        "description": registry.summary(kind, name),
        "properties": {"name": {"const": name}, **{k: _key(p) for k, p in keys.items()}, **own},
        "required": ["name", *(key for key, parameter in keys.items() if parameter.required)],
        "additionalProperties": False,
    }


def _key(parameter: registry.Parameter) -> dict[str, Any]:
    schema = registry.value_schema(parameter)
    if parameter.help:
        schema["description"] = parameter.help
    if not parameter.required and not parameter.computed:
        schema["default"] = registry.plain(parameter.default)
    return schema
