"""Every block of the README runs: its files are written, its commands are carried out in order."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.markdown import Command, blocks, commands, links, write_files

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = list(commands(README))
EXAMPLE_RUN = re.compile(r"digits-train-\d{8}-\d{6}-[0-9a-f]{4}")

# Servers, a cluster that isn't there, and what is tested by doing it: `make test` runs this.
NOT_RUN = {
    "nnray ui",
    "nnray doctor",  # what it finds is the machine's
    "make demo",
    "make test",
    "nnray compare RUN RUN",
    "nnray submit sweep digits.yaml --address http://head:8265",
    "nnray jobs list --address http://head:8265",
    "nnray predict digits scans/ --out classes.csv",
    "nnray serve digits --port 8080",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all commands: later ones build on earlier ones."""
    made = tmp_path_factory.mktemp("readme")
    write_files(README, made)
    return made


def run(command: Command, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would, in the environment of this test."""
    words = list(command.words)
    runs = sorted((folder / "runs").glob("digits-train-*"), key=lambda path: path.stat().st_mtime)
    if runs:
        words = [EXAMPLE_RUN.sub(runs[-1].name, word) for word in words]
    program = [sys.executable, "-m", "nnray.cli"] if words[0] == "nnray" else words[:1]
    return subprocess.run([*program, *words[1:]], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", [c for c in COMMANDS if str(c) not in NOT_RUN], ids=str)
def test_a_command_does_what_the_readme_says(command: Command, folder: Path) -> None:
    done = run(command, folder)
    assert done.returncode == command.code, done.stderr
    assert all(line in done.stdout for line in command.output), done.stdout
    assert "Traceback" not in done.stderr


def test_the_python_example_runs(folder: Path) -> None:
    scripts = [
        block.file for block in blocks(README) if block.language == "python" and "import nnray" in block.body
    ]
    assert scripts == ["demo.py"]
    done = run(Command((sys.executable, "demo.py"), 0, ()), folder)
    assert done.returncode == 0, done.stderr
    accuracy, model_uri = done.stdout.split()
    assert 0 < float(accuracy) <= 1
    assert model_uri.startswith(("models:/", "runs:/"))


def test_every_verb_is_shown() -> None:
    shown = {command.words[1] for command in COMMANDS if command.words[0] == "nnray"}
    assert shown >= {
        "train",
        "sweep",
        "resume",
        "check",
        "schema",
        "list",
        "ui",
        "submit",
        "jobs",
        "doctor",
    } | {
        "federate",
        "compare",
    } | {
        "evaluate",
        "report",
        "explain",
        "attack",
        "compress",
        "ensemble",
        "predict",
        "serve",
        "export",
        "promote",
        "models",
        "describe",
    }


def test_make_has_the_targets() -> None:
    targets = [command.words[1] for command in COMMANDS if command.words[0] == "make"]
    assert targets
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(re.search(rf"^{target}:.*## ", makefile, re.MULTILINE) for target in targets)


def test_every_link_leads_to_a_file() -> None:
    missing = [target for target in links(README) if not (ROOT / target).exists()]
    assert missing == []


def test_make_alone_prints_what_there_is_to_make() -> None:
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in ("demo", "test", "check", "bench", "ui", "help"):
        assert re.search(rf"^  {target} ", done.stdout, re.MULTILINE)
