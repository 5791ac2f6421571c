"""What trains, federates and runs knows no task, model or data set by name: it is told by the catalog."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from nnray.catalog import CATALOG
from tests.conftest import ROOT

PARTS = ("training", "federated", "runners")
KINDS = ("task", "model", "dataset")
WORD = re.compile(r"[A-Za-z0-9_]+")

# Names that are words of something else, and the only places where they may stand (None: anywhere).
FORMATS = frozenset({"csv", "parquet", "npz"})
GENERIC: Mapping[str, frozenset[str] | None] = {
    **dict.fromkeys(FORMATS, None),  # formats of files, which are also written
    "digits": None,  # of a number
    "shapes": None,  # of tensors
    "table": None,  # that is printed, or drawn
    "torchvision": frozenset({"runners/doctor/node.py"}),  # a package that a node needs
    "image_folder": frozenset({"runners/evaluation/given.py"}),  # what a folder given by path is read as
}


def catalog_names() -> dict[str, str]:
    """Name to kind."""
    return {name: kind for kind in KINDS for name in CATALOG[kind]}


def words(source: str) -> Iterator[str]:
    """Every word of a module's identifiers and strings; docstrings and comments are no code."""
    tree = ast.parse(source)
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield from WORD.findall(node.value)
        for field in ("id", "attr", "arg", "name", "asname", "module"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield from WORD.findall(value)


def named(path: str, source: str) -> list[str]:
    """What a module names of the catalog and should not; ``path`` is below nnray."""
    kinds = catalog_names()
    found = sorted(set(words(source)) & kinds.keys())
    return [f"{path} names {kinds[word]} {word}" for word in found if not allowed(word, path)]


def allowed(word: str, path: str) -> bool:
    """Whether a name of the catalog means something else there."""
    places = GENERIC.get(word, frozenset())
    return places is None or path in places


def modules() -> dict[str, str]:
    """Path below nnray to source, of all that must be generic."""
    paths = (path for part in PARTS for path in sorted((ROOT / "nnray" / part).rglob("*.py")))
    return {path.relative_to(ROOT / "nnray").as_posix(): path.read_text(encoding="utf-8") for path in paths}


@pytest.mark.parametrize("part", PARTS)
def test_nothing_of_the_catalog_is_named(part: str) -> None:
    parts = {path: source for path, source in modules().items() if path.startswith(f"{part}/")}
    assert len(parts) > 5
    assert [line for path, source in parts.items() for line in named(path, source)] == []


def test_no_task_is_named_even_in_words() -> None:
    """As ``grep -w`` sees it, comments and docstrings included."""
    tasks = set(CATALOG["task"])
    found = {path: sorted(tasks & set(WORD.findall(source))) for path, source in modules().items()}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "source",
    [
        "if task.name == '{}':\n    pass",
        "x = 'so {} it is'",
        "from nnray.{} import x",
        "import {}",
        "x.{}",
        "f({}=1)",
        "def {}(): pass",
        "def f({}): pass",
        "from a import b as {}",
        "f'{{x}} {}'",
    ],
)
def test_a_name_is_found_wherever_it_stands(kind: str, source: str) -> None:
    name = next(name for name in CATALOG[kind] if name not in GENERIC)
    assert named("runners/made_up.py", source.format(name)) != []


def test_docstrings_and_comments_may_give_examples() -> None:
    assert named("runners/made_up.py", '"""Such as mnist."""\n# as mnist\ndef f():\n    """A cnn."""\n') == []


def test_what_is_generic_is_generic_in_its_place_alone() -> None:
    assert named("runners/made_up.py", "x = '.csv', 'digits'") == []
    assert named("runners/doctor/node.py", "x = 'torchvision'") == []
    assert named("runners/made_up.py", "x = 'torchvision'") != []
    assert GENERIC.keys() <= catalog_names().keys(), "what is no name any more need not be allowed"


@pytest.mark.parametrize("path", sorted({p for places in GENERIC.values() for p in places or ()}))
def test_every_exception_is_needed(path: str) -> None:
    found = set(words((Path(ROOT) / "nnray" / path).read_text(encoding="utf-8")))
    assert {word for word, places in GENERIC.items() if places and path in places} <= found
