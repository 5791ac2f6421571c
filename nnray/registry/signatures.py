"""What a plug-in takes, read from its source: one signature is its interface and its manual.

Keyword-only arguments are the keys of the experiment file. Names in ``RUNTIME`` are given by
nnray when it calls the plug-in, so a file may not set them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticUserError

from nnray.errors import suggestion
from nnray.registry.annotations import read_annotation, read_constant
from nnray.registry.source import STEPS, Module, Unreadable, define

RUNTIME = frozenset(
    {"num_steps", "steps_per_epoch", "seed", "root", "stream", "space", "trials"}
    | {"round", "cohort", "spare", "groups", "server_optimizer", "slots", "info", "load_model"}
)
"""Keyword-only arguments that nnray gives at run time, where the plug-in has them."""


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """One key that a plug-in takes.

    Args:
        name: The key.
        type: A type that pydantic checks; ``Any`` where the source doesn't tell.
        default: The value where the file says nothing; None where it is required or computed.
        required: Whether the file must give it.
        help: What the docstring says of it.
        computed: Whether the default is known only to the running code.
    """

    name: str
    type: Any
    default: Any
    required: bool
    help: str = ""
    computed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Signature:
    """What a function takes.

    Args:
        parameters: The keys of a file, by name.
        summary: First line of the docstring.
        positional: Names of arguments that can be given by position.
        least: How many positional arguments there must be.
        most: How many there can be; None for any number.
        runtime: Names of ``RUNTIME`` that it takes.
        is_open: Whether it takes any key, by ``**kwargs`` or because its source doesn't tell.
    """

    parameters: Mapping[str, Parameter]
    summary: str = ""
    positional: tuple[str, ...] = ()
    least: int = 0
    most: int | None = None
    runtime: frozenset[str] = frozenset()
    is_open: bool = False

    def takes(self, name: str) -> bool:
        """Whether nnray gives it a value of ``RUNTIME``."""
        return name in self.runtime or self.is_open


@lru_cache(maxsize=512)
def read_signature(module: Module, name: str) -> Signature:
    """The signature of a function or class at the top level of a module.

    Raises:
        Unreadable: The module doesn't define it, or imports it from where it can't be read.
    """
    found = define(module, name)
    if found is None:
        there = [key for key in module.definitions if not key.startswith("_")]
        raise Unreadable(f"{module.path} defines no {name!r}; {suggestion(name, there)}")
    home, node = found
    if isinstance(node, ast.ClassDef):
        init = _find_init(home, node, STEPS)
        summary = _summary(node)
        return _of_function(*init, summary=summary, bound=1) if init else Signature({}, summary, is_open=True)
    if isinstance(node, ast.FunctionDef):
        return _of_function(home, node, summary=_summary(node), bound=0)
    if isinstance(node, ast.AsyncFunctionDef):
        raise Unreadable(f"{home.path}, line {node.lineno}: {name!r} is async; a plain def is needed")
    return Signature({}, is_open=True)


@lru_cache(maxsize=4096)
def adapter(parameter: Parameter) -> TypeAdapter[Any]:
    """The checker of a parameter's values, strict: a bool is no int, a text is no number."""
    try:
        return TypeAdapter(parameter.type, config=ConfigDict(strict=True))
    except (PydanticUserError, TypeError):
        return TypeAdapter(Any)


def _of_function(module: Module, node: ast.FunctionDef, *, summary: str, bound: int) -> Signature:
    args = node.args
    positional = [argument.arg for argument in (*args.posonlyargs, *args.args)][bound:]
    helps = read_help(ast.get_docstring(node) or "")
    parameters = {
        argument.arg: _parameter(argument, default, module, helps.get(argument.arg, ""))
        for argument, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)
        if argument.arg not in RUNTIME
    }
    return Signature(
        parameters,
        summary=summary,
        positional=tuple(positional),
        least=max(0, len(positional) - len(args.defaults)),
        most=None if args.vararg else len(positional),
        runtime=RUNTIME & {argument.arg for argument in args.kwonlyargs},
        is_open=args.kwarg is not None,
    )


def _parameter(argument: ast.arg, default: ast.expr | None, module: Module, text: str) -> Parameter:
    try:
        hint = read_annotation(argument.annotation, module)
    except RecursionError:
        hint = Any
    if default is None:
        return Parameter(argument.arg, hint, None, True, text)
    try:
        return Parameter(argument.arg, hint, read_constant(default, module), False, text)
    except ValueError:
        return Parameter(argument.arg, hint, None, False, text, computed=True)


def _find_init(module: Module, node: ast.ClassDef, steps: int) -> tuple[Module, ast.FunctionDef] | None:
    """The ``__init__`` of a class or of its first base that has one in readable source."""
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return module, statement
    if node.decorator_list or not steps:
        return None
    for base in node.bases:
        try:
            found = define(module, base.id) if isinstance(base, ast.Name) else None
        except Unreadable:
            return None
        if found and isinstance(found[1], ast.ClassDef):
            return _find_init(found[0], found[1], steps - 1)
    return None


def _summary(node: ast.FunctionDef | ast.ClassDef) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0].strip()


def read_help(docstring: str) -> dict[str, str]:
    """The texts of a docstring's ``Args:`` section, by argument."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\s*\n)+)", docstring, re.MULTILINE)
    lines = section[1].splitlines() if section else []
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    helps: dict[str, str] = {}
    name = ""
    for line in lines:
        start = re.match(rf"[ \t]{{{indent}}}\*{{0,2}}(\w+)(?: ?\([^)]*\))?:\s*(.*)", line)
        if start:
            name, helps[start[1]] = start[1], start[2]
        elif name and line.strip():
            helps[name] = f"{helps[name]} {line.strip()}"
    return helps
