"""Arrows point down only. Every import is parsed, also those inside functions and for type checking."""

from __future__ import annotations

import ast
import graphlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.conftest import ROOT

ZERO = frozenset({"clock", "errors", "seeding", "metrics", "durable", "fields"})
DOMAIN = frozenset({"data", "models", "tasks", "training", "evaluation", "federated", "privacy"}) | {
    "compression",
    "explainers",
    "robustness",
}

# What each part of nnray may import: DESIGN, section 2.
MAY_IMPORT: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(ZERO, ZERO),
    "catalog": frozenset(),
    "registry": ZERO | {"catalog"},
    "config": ZERO | {"catalog", "registry"},
    "data": ZERO,
    "models": ZERO | {"data"},
    "tasks": ZERO | {"data"},
    "training": ZERO | {"data", "tasks", "evaluation"},
    "evaluation": ZERO | {"data", "tasks"},
    "federated": ZERO | {"data", "tasks", "training", "evaluation"},
    "privacy": ZERO | {"data", "tasks", "training", "evaluation", "federated"},
    "compression": ZERO | {"data", "tasks", "training", "evaluation"},
    "explainers": ZERO | {"data"},
    "robustness": ZERO | {"data", "tasks", "training", "evaluation"},
    "testing": ZERO | {"federated"},  # conformance suites that a user's own plug-in can run
    "assembly": ZERO | DOMAIN | {"catalog", "registry", "config"},
    "tracking": ZERO | {"config"},
    "runners": ZERO | DOMAIN | {"catalog", "registry", "config", "assembly", "tracking"},
    "api": ZERO | DOMAIN | {"catalog", "registry", "config", "assembly", "tracking", "runners"},
    "cli": ZERO | {"api", "runners"},  # runners: the types of results, which it prints
    "__main__": frozenset({"cli"}),
}

# The only part that may import each of these, wherever the import stands.
HOME: Mapping[str, frozenset[str]] = {
    "ray": frozenset({"runners"}),
    "optuna": frozenset({"runners"}),
    "mlflow": frozenset({"tracking"}),
    "typer": frozenset({"cli"}),
    "click": frozenset({"cli"}),
}
WITHOUT_TORCH = frozenset({"errors", "metrics", "durable", "fields", "catalog", "registry", "config", "cli"})


def sources() -> dict[str, str]:
    """Module name to source, for all of nnray; a package goes by its own name."""
    found = {}
    for path in sorted((ROOT / "nnray").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path.read_text(encoding="utf-8")
    return found


def imported(source: str) -> Iterator[str]:
    """Every dotted name that a module imports, at any depth."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layer"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(dotted: str, modules: Mapping[str, str]) -> str:
    """The longest prefix of an imported name that is a module: the rest is a name within it."""
    while dotted not in modules:
        dotted = dotted.rpartition(".")[0]
    return dotted


def edges(modules: Mapping[str, str]) -> dict[str, set[str]]:
    """Module to the modules of nnray that it imports by name."""
    graph: dict[str, set[str]] = {}
    for module, source in modules.items():
        inside = {name for name in imported(source) if name.split(".")[0] == "nnray"}
        # The version is a constant of the root, which imports nothing itself.
        graph[module] = {module_of(name, modules) for name in inside - {"nnray.__version__"}}
    return graph


def part(module: str) -> str:
    """``nnray.data.idx`` is part of ``data``; the root is a part of its own."""
    return module.split(".")[1] if "." in module else "nnray"


def upward(modules: Mapping[str, str]) -> list[str]:
    """Edges that no layer allows."""
    wrong = []
    for module, targets in edges(modules).items():
        here = part(module)
        for target in sorted(targets):
            there = part(target)
            if here not in (there, "nnray") and there not in MAY_IMPORT.get(here, frozenset()):
                wrong.append(f"{module} -> {target}")
    return wrong


def strangers(modules: Mapping[str, str]) -> list[str]:
    """Imports of a guarded third party outside its layer."""
    wrong = []
    for module, source in modules.items():
        tops = {name.split(".")[0] for name in imported(source)}
        wrong += [
            f"{module} -> {top}" for top in sorted(tops) if part(module) not in HOME.get(top, {part(module)})
        ]
        if part(module) in WITHOUT_TORCH and tops & {"torch", "torchvision"}:
            wrong.append(f"{module} -> torch")
    return wrong


def cycle(modules: Mapping[str, str]) -> list[str]:
    """A cycle of imports between modules, or nothing."""
    try:
        tuple(graphlib.TopologicalSorter(edges(modules)).static_order())
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_every_part_has_a_layer() -> None:
    assert {part(module) for module in sources()} - {"nnray"} <= MAY_IMPORT.keys()


def test_arrows_point_down() -> None:
    assert upward(sources()) == []


def test_no_cycles() -> None:
    assert cycle(sources()) == []


def test_third_parties_stay_in_their_layer() -> None:
    assert strangers(sources()) == []


def test_the_allowed_edges_have_no_cycle() -> None:
    above_zero = {name: allowed - ZERO - {name} for name, allowed in MAY_IMPORT.items() if name not in ZERO}
    assert list(graphlib.TopologicalSorter(above_zero).static_order())


SMALL = {
    "nnray": "",
    "nnray.errors": "",
    "nnray.data": "",
    "nnray.data.idx": "",
    "nnray.config": "",
    "nnray.api": "",
}


@pytest.mark.parametrize(
    "source",
    [
        "import nnray.config",
        "import nnray.api as a",
        "from nnray import config",
        "from nnray.config import Experiment",
        "def f():\n    from nnray.config import load",
        "class A:\n    def f(self):\n        if self:\n            import nnray.api",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from nnray.api import RunResult",
        "from nnray import train",
    ],
)
def test_an_upward_edge_is_found(source: str) -> None:
    assert upward(SMALL | {"nnray.data.idx": source}) != []


@pytest.mark.parametrize(
    "source",
    [
        "from nnray.errors import DataError",
        "from nnray import __version__",
        "import torch, json",
        "import nnrayish",
    ],
)
def test_a_downward_edge_is_allowed(source: str) -> None:
    assert upward(SMALL | {"nnray.data.idx": source}) == []


def test_a_relative_import_is_refused() -> None:
    with pytest.raises(AssertionError, match="relative"):
        upward(SMALL | {"nnray.data.idx": "from . import x"})


def test_a_cycle_is_found() -> None:
    late = {"nnray.data": "from nnray.data.idx import x", "nnray.data.idx": "def f():\n    import nnray.data"}
    assert set(cycle(SMALL | late)) == {"nnray.data", "nnray.data.idx"}


@pytest.mark.parametrize("name", sorted(HOME))
@pytest.mark.parametrize("form", ["import {}", "from {}.x import y", "def f():\n    import {}.z as z"])
def test_a_stranger_is_found(name: str, form: str) -> None:
    source = form.format(name)
    assert strangers(SMALL | {"nnray.data.idx": source}) == [f"nnray.data.idx -> {name}"]
    assert strangers({f"nnray.{home}.x": source for home in HOME[name]}) == []


def test_torch_is_found_where_it_is_not_allowed() -> None:
    assert strangers(SMALL | {"nnray.config": "def f():\n    from torch import nn"}) == [
        "nnray.config -> torch"
    ]


def loaded_by(code: str, *, folder: Path) -> set[str]:
    """Top-level names of the modules that a fresh process has loaded after running ``code``."""
    tail = "\nimport json, sys\nprint('\\n' + json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", code + tail], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


HEAVY = {
    "torch",
    "torchvision",
    "ray",
    "mlflow",
    "optuna",
    "sklearn",
    "scipy",
    "pandas",
    "matplotlib",
    "torchmetrics",
    "uvicorn",
    "onnx",
    "plotly",
}


def test_importing_nnray_imports_nothing_else(tmp_path: Path) -> None:
    code = (
        "import sys, typing\nbefore = set(sys.modules)\nimport nnray\n"
        "assert set(sys.modules) - before <= {'nnray', '__future__'}, set(sys.modules) - before"
    )
    assert loaded_by(code, folder=tmp_path) & HEAVY == set()


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["list", "models"], ["schema"]])
def test_cheap_commands_import_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = (
        f"import sys\nsys.argv = ['nnray', *{arguments!r}]\nfrom nnray.cli import main\n"
        "try:\n    main()\nexcept SystemExit as error:\n    assert not error.code, error.code"
    )
    assert loaded_by(code, folder=tmp_path) & HEAVY == set()


def test_checking_every_job_imports_nothing_heavy(tmp_path: Path) -> None:
    jobs = [str(path) for path in sorted((ROOT / "jobs").glob("*.yaml"))]
    code = f"from nnray.config import load\nfor job in {jobs!r}:\n    load(job)"
    assert loaded_by(code, folder=tmp_path) & HEAVY == set()
