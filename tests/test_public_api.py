"""The public surface, and the rules of the house that a machine can check."""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import nnray
from nnray.catalog import CATALOG
from tests.conftest import ROOT

CODE = sorted((ROOT / "nnray").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
TEXTS = [
    *CODE,
    *TESTS,
    *(ROOT / "benchmarks").rglob("*.py"),
    *(ROOT / "jobs").iterdir(),
    *(path for path in (ROOT / "docs").rglob("*") if path.suffix in {".md", ".py"}),
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "Makefile", "pyproject.toml", "mkdocs.yml")),
    *(ROOT / name for name in ("requirements.lock", ".gitignore", ".ci/run")),
]
SECTIONS = ["Args", "Returns", "Yields", "Shape", "Units", "Raises", "Source"]
LONGEST_FILE, LONGEST_FUNCTION = 350, 60

# Functions of three arguments in an order that is known by heart, and the plug-ins that get three from nnray.
THREE_POSITIONAL = {"better", "evaluate"} | {
    name for kind in ("searcher", "scheduler", "partition") for name in CATALOG[kind]
}

# Methods that take what a library's base class calls them with.
CALLED_BY_OTHERS = {"sample_independent"}

# What users build on: a change here is a change of the version.
SIGNATURES = {
    "attack": (
        "(model, *, method=(), epsilon=(), norm=None, steps=None, restarts=None, corruptions=(), "
        "baseline=None, split='test', limit=1000, batch_size=None, seed=0, out=None, **opening)"
    ),
    "compare": "(runs, *, metric='test_accuracy', target=None, root='runs', out='comparison')",
    "describe": "(kind, name)",
    "doctor": "(*, address=None, storage=None, tracking=None)",
    "compress": (
        "(model, methods, *, epochs=None, lr=None, student=(), target=None, register=None, out=None, "
        "**opening)"
    ),
    "ensemble": (
        "(models, *, combine='mean', top=None, test=True, register=None, alias='candidate', root='runs', "
        "tracking=None, trust=False)"
    ),
    "evaluate": (
        "(model, *, data=None, split=None, label=None, temperature=False, threshold_by=None, "
        "bootstrap=1000, wrong=25, out=None, **opening)"
    ),
    "explain": (
        "(model, method='integrated_gradients', *, inputs=(), split='test', index=(), wrong=None, "
        "target=None, resize=False, check=True, seed=0, out=None, **opening)"
    ),
    "export": "(model, *, to, opset=None, out=None, **opening)",
    "federate": "(experiment, overrides=(), *, once=None, quiet=False)",
    "jobs": "(address=None)",
    "list_models": "(name=None, *, tracking=None)",
    "load": "(path, overrides=())",
    "predict": (
        "(model, inputs, *, out=None, file_format=None, batch_size=256, probabilities=False, "
        "threshold=None, label=None, columns=(), resize=False, skip_unreadable=False, on_ray=False, "
        "**opening)"
    ),
    "promote": "(model, *, alias='champion', name=None, metric=None, force=False, **opening)",
    "report": "(run, *, root='runs', tracking=None, out=None)",
    "report_partition": "(experiment, overrides=(), *, out=None)",
    "resume": "(run=None, *, root='runs', trials=None, workers=None, quiet=False)",
    "serve": (
        "(model, *, host='127.0.0.1', port=8080, batch_size=64, threads=None, max_body_mib=16.0, "
        "max_examples=10000, threshold=None, **opening)"
    ),
    "submit": "(verb, file, *, overrides=(), address=None, project=None, job=None, env=(), quiet=False)",
    "sweep": "(experiment, overrides=(), *, warm_start=None, once=None, quiet=False)",
    "sync": "(root='runs')",
    "train": "(experiment, overrides=(), *, once=None, quiet=False)",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = Function | ast.ClassDef


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def public(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, Documented, bool]]:
    """Public classes and functions at the top and in public classes: name, node, whether a method."""
    for node in body:
        if isinstance(node, Documented) and not node.name.startswith("_"):
            yield f"{prefix}{node.name}", node, prefix.count(".") > 0
            if isinstance(node, ast.ClassDef):
                yield from public(node.body, f"{prefix}{node.name}.")


def everything() -> Iterator[tuple[str, Documented, bool]]:
    for path in CODE:
        yield from public(ast.parse(path.read_text(encoding="utf-8")).body, f"{relative(path)}:")


EVERYTHING = [(name, node, "." in name.split(":")[1]) for name, node, _ in everything()]


def sections(docstring: str) -> list[str]:
    """Headings of a Google docstring: a word and a colon alone on a line."""
    return re.findall(r"^([A-Z][a-z]+):$", inspect.cleandoc(docstring), re.MULTILINE)


def positional(node: Function, *, method: bool) -> list[str]:
    """Parameters that a caller gives by position."""
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)
    return names[1:] if method and not static else names


def test_the_public_names_are_these() -> None:
    assert sorted(nnray.__all__) == list(nnray.__all__)
    assert {*nnray.__all__, "__version__"} == set(dir(nnray))


@pytest.mark.parametrize("name", nnray.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(nnray, name)
    assert inspect.getdoc(value)
    assert getattr(nnray, name) is value


def test_names_for_type_checkers_are_the_names_at_run_time() -> None:
    tree = ast.parse((ROOT / "nnray/__init__.py").read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {
        alias.name: node.module
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = vars(nnray)["_HOMES"]
    assert typed == {name: home for home, names in homes.items() for name in names}
    assert sorted(typed) == nnray.__all__


def test_an_unknown_name_is_an_attribute_error_that_lists_the_names() -> None:
    with pytest.raises(AttributeError, match=r"no attribute .trian.; it has: .*train"):
        nnray.trian  # noqa: B018


@pytest.mark.parametrize("name", sorted(SIGNATURES))
def test_signatures_are_kept(name: str) -> None:
    signature = inspect.signature(getattr(nnray, name))
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    untyped = signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)
    assert str(untyped) == SIGNATURES[name]


def test_the_signatures_are_those_of_all_public_functions() -> None:
    functions = {name for name in nnray.__all__ if inspect.isfunction(getattr(nnray, name))}
    assert functions == SIGNATURES.keys()


def test_the_version_is_that_of_the_package() -> None:
    metadata = importlib.import_module("importlib.metadata")
    assert nnray.__version__ == metadata.version("nnray")


def test_every_public_thing_has_a_docstring() -> None:
    bare = [
        relative(path) for path in CODE if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert bare == []
    missing = [name for name, node, _ in EVERYTHING if not ast.get_docstring(node)]
    assert missing == []


def test_sections_are_known_and_in_order() -> None:
    wrong = []
    for name, node, _ in EVERYTHING:
        found = sections(ast.get_docstring(node) or "")
        if found != sorted(found, key=lambda s: SECTIONS.index(s) if s in SECTIONS else -1) or set(found) - {
            *SECTIONS
        }:
            wrong.append(f"{name}: {found}")
    assert wrong == []


def test_documented_arguments_exist() -> None:
    wrong = []
    for name, node, _ in EVERYTHING:
        if isinstance(node, ast.ClassDef):
            continue
        arguments = node.args
        every = [
            *arguments.posonlyargs,
            *arguments.args,
            *arguments.kwonlyargs,
            arguments.vararg,
            arguments.kwarg,
        ]
        known = {argument.arg for argument in every if argument}
        wrong += [f"{name}: {arg}" for arg in documented(ast.get_docstring(node) or "") if arg not in known]
    assert wrong == []


def documented(docstring: str) -> list[str]:
    """Names under ``Args:``; a type in parentheses would come along with its name."""
    match = re.search(r"^Args:\n((?:    .*\n?|\n(?=    ))+)", inspect.cleandoc(docstring), re.MULTILINE)
    return re.findall(r"^    (\S[^:]*?):(?:\s|$)", match[1], re.MULTILINE) if match else []


def most_positional(node: Function, *, method: bool) -> int:
    """Two; three where a protocol says so: its methods are called by every implementation's users alike."""
    return 3 if method or node.name in THREE_POSITIONAL else 2


def test_few_parameters_are_positional() -> None:
    wrong = [
        f"{name}{positional(node, method=method)}"
        for name, node, method in EVERYTHING
        if not isinstance(node, ast.ClassDef)
        and node.name not in CALLED_BY_OTHERS
        and len(positional(node, method=method)) > most_positional(node, method=method)
    ]
    assert wrong == []


@pytest.mark.parametrize("path", CODE, ids=relative)
def test_files_and_functions_are_short(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") <= LONGEST_FILE
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, Function)]
    assert [f.name for f in functions if (f.end_lineno or 0) - f.lineno + 1 > LONGEST_FUNCTION] == []


def test_nothing_is_named_by_what_it_is_not() -> None:
    assert [relative(path) for path in CODE if re.search(r"util|helper|common|misc", path.stem)] == []
    assert [name for name, _, _ in EVERYTHING if re.search(r"(Manager|Helper|Utils?)$", name)] == []


def code_lines(source: str) -> int:
    """Lines that hold code: neither blank, nor a comment, nor a docstring."""
    tree = ast.parse(source)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in (
            tokenize.COMMENT,
            tokenize.NL,
            tokenize.NEWLINE,
            tokenize.INDENT,
            tokenize.DEDENT,
        ):
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, Documented | ast.Module) and ast.get_docstring(node):
            text = node.body[0]
            lines -= set(range(text.lineno, (text.end_lineno or 0) + 1))
    return len([line for line in lines if line <= source.count("\n")])


def test_there_is_at_least_as_much_test_as_code() -> None:
    tests, code = (
        sum(code_lines(path.read_text(encoding="utf-8")) for path in paths) for paths in (TESTS, CODE)
    )
    assert tests >= code


def test_lines_of_code_leave_out_blanks_comments_and_docstrings() -> None:
    assert (
        code_lines(
            '"""Module."""\n\nx = (\n    1\n)\n\n# why\ndef f():\n    """Two\n    lines."""\n    return x\n'
        )
        == 5
    )


def test_nothing_is_left_undone() -> None:
    words = (
        "TO" + "DO",
        "FIX" + "ME",
        "pytest.mark." + "skip(",
        "pytest." + "skip(",
        "pytest.mark." + "xfail",
    )
    found = [
        f"{relative(path)}: {word}"
        for path in TEXTS
        for word in words
        if word in path.read_text(encoding="utf-8")
    ]
    assert found == []


def test_no_file_names_a_registry_or_a_machine() -> None:
    hosts = ("pypi." + "org", "python" + "hosted", "npm" + "js.", "deb" + "ian.org", "/wo" + "rk/")
    found = [
        f"{relative(path)}: {host}"
        for path in TEXTS
        for host in hosts
        if host in path.read_text(encoding="utf-8")
    ]
    assert found == []


def test_tests_wait_for_conditions() -> None:
    found = [relative(path) for path in TESTS if "time." + "sleep" in path.read_text(encoding="utf-8")]
    assert found == []


def test_the_checks_see_what_is_wrong() -> None:
    bad = '''
class Public:
    """One.

    Source:
        Somebody.

    Args:
        x: A thing.
    """

    def method(self, a, b, c):
        """Two.

        Args:
            a (int): With a type.
        """

def _private(a, b, c): ...
'''
    found = list(public(ast.parse(bad).body, "m.py:"))
    assert [name for name, _, _ in found] == ["m.py:Public", "m.py:Public.method"]
    cls, method = found[0][1], found[1][1]
    assert sections(ast.get_docstring(cls) or "") == ["Source", "Args"]
    assert isinstance(method, ast.FunctionDef)
    assert positional(method, method=True) == ["a", "b", "c"]
    assert len(positional(method, method=False)) > most_positional(method, method=False)
    assert documented(ast.get_docstring(method) or "") == ["a (int)"]
