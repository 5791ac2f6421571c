"""Finds definitions in Python source without importing anything.

A name such as ``pkg.nets:tiny`` is looked for in the folders of ``sys.path``, in further folders
given by the caller, and in the current folder; parent packages are walked, never run. Imports
such as ``from .x import tiny`` are followed a few steps.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nnray.registry.wording import shown

STEPS = 8
"""How many imports or aliases are followed before giving up."""


class Unreadable(Exception):
    """Source that isn't there or can't be read; the message says where it was looked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Module:
    """The top level of a source file.

    Args:
        name: Dotted name.
        path: Its file.
        package: Dotted name that relative imports start from.
        definitions: Name to the statement that binds it last.
        stars: Modules imported from by ``*``, in order.
        search: Further folders to find modules in.
    """

    name: str
    path: Path
    package: str
    definitions: Mapping[str, ast.stmt]
    stars: tuple[str, ...]
    search: tuple[str, ...]


def find_file(module: str, *, search: Sequence[str] = ()) -> Path | None:
    """The source file of a module; None where there is none."""
    parts = module.split(".")
    for root in _roots(parts[0], search):
        base = Path(root).absolute().joinpath(*parts)
        for path in (base / "__init__.py", base.with_name(f"{base.name}.py")):
            if _is_file(path):
                return path
    return None


def read_module(module: str, *, search: Sequence[str] = ()) -> Module:
    """Parse a module's file, once for each state of the file.

    Raises:
        Unreadable: There is no such file, or it is not Python.
    """
    path = find_file(module, search=search)
    if path is None:
        folders = dict.fromkeys(str(Path(root).absolute()) for root in (*sys.path, *search, "."))
        looked = ", ".join(folder for folder in folders if Path(folder).is_dir())
        raise Unreadable(f"no module {shown(module)} was found in {looked}")
    try:
        stamp = path.stat()
        return _parsed(module, path, (stamp.st_mtime_ns, stamp.st_size), tuple(search))
    except OSError as error:
        raise Unreadable(f"{path} can't be read: {error.strerror}") from None


def define(module: Module, name: str, *, steps: int = STEPS) -> tuple[Module, ast.stmt] | None:
    """The statement that defines a name, and the module it stands in, through imports.

    Raises:
        Unreadable: A module it is imported from can't be read.
    """
    found = module.definitions.get(name)
    if isinstance(found, ast.ImportFrom) and steps:
        original = next((a.name for a in found.names if (a.asname or a.name) == name), name)
        source = read_module(_imported_from(module, found), search=module.search)
        return define(source, original, steps=steps - 1)
    if found is not None:
        return module, found
    for star in module.stars if steps else ():
        if find_file(star, search=module.search) and (
            hit := define(read_module(star, search=module.search), name, steps=steps - 1)
        ):
            return hit
    return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _roots(top: str, search: Sequence[str]) -> Iterator[str]:
    if top == __name__.partition(".")[0]:
        yield str(Path(__file__).parents[2])
        return
    yield from (*sys.path, *search, ".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return
    yield from (str(Path(folder).parent) for folder in (spec and spec.submodule_search_locations) or ())


@lru_cache(maxsize=256)
def _parsed(module: str, path: Path, stamp: tuple[int, int], search: tuple[str, ...]) -> Module:
    text = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        raise Unreadable(f"{path}{f', line {line}' if line else ''} is not valid Python: {error}") from None
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    parsed = Module(module, path, package, definitions := {}, (), search)
    stars = []
    for statement in _statements(tree.body):
        if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
            stars.append(_imported_from(parsed, statement))
        for name in _bound(statement):
            definitions[name] = statement
    return Module(module, path, package, definitions, tuple(stars), search)


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module's top level, also those inside ``if``, ``try`` and ``with``."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try | ast.With):
            yield from _statements(statement.body)
            yield from _statements(getattr(statement, "orelse", []))
            for handler in getattr(statement, "handlers", []):
                yield from _statements(handler.body)


def _bound(statement: ast.stmt) -> list[str]:
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [statement.name]
        case ast.ImportFrom() | ast.Import():
            return [alias.asname or alias.name for alias in statement.names if alias.name != "*"]
        case ast.Assign():
            return [target.id for target in statement.targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _imported_from(module: Module, statement: ast.ImportFrom) -> str:
    if not statement.level:
        return statement.module or ""
    parents = module.package.split(".")
    base = parents[: len(parents) - statement.level + 1]
    return ".".join([*base, statement.module] if statement.module else base)
