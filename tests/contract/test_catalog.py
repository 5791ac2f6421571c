"""Laws that the catalog itself obeys, whatever the kind."""

from __future__ import annotations

from importlib import import_module

import pytest

from nnray import registry
from nnray.catalog import CATALOG

ENTRIES = [(kind, name) for kind in CATALOG for name in CATALOG[kind]]


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_every_entry_is_a_function_whose_source_tells_its_keys(kind: str, name: str) -> None:
    module, _, function = CATALOG[kind][name].partition(":")
    assert callable(getattr(import_module(module), function))
    known = registry.signature(kind, name)
    assert not known.is_open
    assert known.summary.endswith(".")
    assert [key for key, parameter in known.parameters.items() if not parameter.help] == []


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_every_entry_takes_by_position_what_nnray_gives(kind: str, name: str) -> None:
    assert registry.signature(kind, name).positional == registry.POSITIONAL[kind]


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_a_component_with_its_defaults_is_without_problems(kind: str, name: str) -> None:
    required = [key for key, parameter in registry.parameters(kind, name).items() if parameter.required]
    found = registry.problems(kind, {"name": name})
    assert [problem.path for problem in found] == required


def test_no_two_names_of_a_kind_are_one_function() -> None:
    for kind, names in CATALOG.items():
        assert len(set(names.values())) == len(names), kind
