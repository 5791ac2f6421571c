"""What the tests of cluster/ read: its files, and the versions that they must agree with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

import nnray
from tests.conftest import ROOT

CLUSTER = ROOT / "cluster"
RAY_UP = (ROOT / "cluster.yaml", CLUSTER / "onprem.yaml")
MANIFESTS = sorted((CLUSTER / "kubernetes").glob("*.yaml"))
SCRIPTS = sorted(CLUSTER.glob("*.sh"))
OUR_IMAGE = f"nnray:{nnray.__version__}"


def load(path: Path) -> Any:
    """The one document of a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def documents(path: Path) -> list[Any]:
    """All documents of a YAML file."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def pinned(package: str) -> str:
    """The version of a package in requirements.lock."""
    found = re.search(
        rf"^{package}==(\S+)", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert found is not None
    return found[1]


def values(tree: Any, key: str) -> Iterator[Any]:
    """Every value under that key, at any depth."""
    if isinstance(tree, dict):
        yield from (value for name, value in tree.items() if name == key)
        for value in tree.values():
            yield from values(value, key)
    elif isinstance(tree, list):
        for item in tree:
            yield from values(item, key)
