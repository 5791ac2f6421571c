"""The package's own files agree with each other: metadata, lock, Makefile, CI."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.conftest import ROOT

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[\w,]+\])?==(?P<version>[^\s;\\]+)", re.MULTILINE)
PINS = {canonicalize_name(match["name"]): Version(match["version"]) for match in PIN.finditer(LOCK)}


def requirements() -> list[Requirement]:
    """What the project and all its extras ask for, itself left out."""
    extras = (line for lines in PROJECT["optional-dependencies"].values() for line in lines)
    every = [Requirement(line) for line in (*PROJECT["dependencies"], *extras)]
    return [requirement for requirement in every if requirement.name != "nnray"]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_the_lock_pins_what_the_project_asks_for(requirement: Requirement) -> None:
    assert PINS[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_bound_is_one_that_a_resolver_can_use(requirement: Requirement) -> None:
    assert requirement.name.startswith("types-") or any(
        spec.operator == ">=" for spec in requirement.specifier
    )


def test_every_pin_has_a_hash() -> None:
    blocks = re.split(r"\n(?=[A-Za-z0-9])", LOCK)
    assert [block.split()[0] for block in blocks[1:] if "--hash=sha256:" not in block] == []


def test_the_lock_names_no_place() -> None:
    lines = (line for line in LOCK.splitlines() if not line.strip().startswith("--hash"))
    assert [line for line in lines if re.search(r"://|--(extra-)?index|--find-links|@ ", line)] == []


def test_ci_is_executable_and_runs_both_targets() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    text = script.read_text(encoding="utf-8")
    assert "make check" in text
    assert "make test" in text
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_an_old_python_is_refused_in_words(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    programs = tmp_path / "programs"
    programs.mkdir()
    # One stands in for every python3: it fails the question for its version and says that it is old.
    old = programs / "python3"
    old.write_text(
        '#!/bin/sh\ncase "$1" in --version) echo Python 3.8.1;; *) exit 1;; esac\n', encoding="utf-8"
    )
    old.chmod(0o755)
    for name in ("python3.11", "python3.12", "python3.13"):
        (programs / name).symlink_to(old)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["make", "demo"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "nnray needs Python 3.11 or newer" in done.stderr
    assert "Python 3.8.1" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_changelog_has_the_form_of_keep_a_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", heading) for heading in headings[1:])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds
