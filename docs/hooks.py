"""Writes the reference tables from the code itself while the site is built, so that they can't go stale."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from nnray import registry
from nnray.catalog import CATALOG
from nnray.config import Component, Experiment, composition

_HEAD = "| key | allowed | default | |\n|---|---|---|---|\n"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the tables where a page asks for them (mkdocs calls this for each page)."""
    made = {"experiment keys": experiment_keys, "catalog": catalog, "composition": composition.table}
    return re.sub(r"<!-- nnray: (.+) -->", lambda match: made[match[1]]().replace("``", "`"), markdown)


def experiment_keys() -> str:
    """A table for the file as a whole and for each section."""
    tables = ["## The file as a whole\n\n" + _table(Experiment, "")]
    tables += [f"## `{path}`\n\n" + _table(model, f"{path}.") for path, model in _sections(Experiment, "")]
    return "\n\n".join(tables)


def catalog() -> str:
    """Every plug-in of every kind, with its keys."""
    kinds = (
        f"## {registry.plural(kind)}\n\n" + "\n\n".join(_entry(kind, name) for name in CATALOG[kind])
        for kind in CATALOG
    )
    return "\n\n".join(kinds)


def _sections(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        inner = _section(field)
        if inner is not None:
            yield f"{prefix}{name}", inner
            yield from _sections(inner, f"{prefix}{name}.")


def _section(field: FieldInfo) -> type[BaseModel] | None:
    if get_origin(field.annotation) is dict:
        return None
    for hint in (field.annotation, *get_args(field.annotation)):
        if isinstance(hint, type) and issubclass(hint, BaseModel) and set(hint.model_fields) - {"name"}:
            return hint
    return None


def _table(model: type[BaseModel], prefix: str) -> str:
    helps = _helps(model.__doc__ or "")
    rows = (
        _row(f"{prefix}{name}", _allowed(field), _default(field), helps.get(name, ""))
        for name, field in model.model_fields.items()
    )
    return _HEAD + "\n".join(rows)


def _allowed(field: FieldInfo) -> str:
    if _section(field) is not None:
        return "see below"
    if isinstance(field.annotation, type) and issubclass(field.annotation, Component):
        return "a name of the catalog, with its keys"
    described = next(
        (item.description for item in (field, *field.metadata) if getattr(item, "description", None)), None
    )
    hint = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    return described or registry.describe(hint)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Component):
        return f"`{value.name}`"
    return "" if isinstance(value, BaseModel) else f"`{registry.shown(value)}`"


def _entry(kind: str, name: str) -> str:
    text = f"### `{name}`\n\n{registry.summary(kind, name)}"
    parameters = registry.parameters(kind, name).values()
    rows = (_row(p.name, registry.describe(p.type), _plugin_default(p), p.help) for p in parameters)
    return f"{text}\n\n{_HEAD}" + "\n".join(rows) if parameters else text


def _plugin_default(parameter: registry.Parameter) -> str:
    return "required" if parameter.required else f"`{registry.shown(registry.plain(parameter.default))}`"


def _row(key: str, *cells: str) -> str:
    return " | ".join([f"| `{key}`", *(cell.replace("|", "\\|").replace("\n", " ") for cell in cells)]) + " |"


def _helps(docstring: str) -> dict[str, str]:
    """The texts under ``Args:`` by name."""
    section = re.search(r"Args:\n(.*?)(?:\n\s*\n|\Z)", inspect.cleandoc(docstring), re.DOTALL)
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section[1] if section else "", re.MULTILINE)
    return {name: re.sub(r"\s+", " ", text) for name, text in found}
