"""The documentation's files load, its commands are the command line's, its catalog is the catalog."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main
import yaml

from nnray.catalog import CATALOG
from nnray.config import load, parse
from tests.conftest import ROOT
from tests.markdown import Command, blocks, commands, links, write_files

PAGES = sorted((ROOT / "docs").rglob("*.md"))
EVERY_COMMAND = [
    (path.stem, command) for path in PAGES for command in commands(path.read_text(encoding="utf-8"))
]
SMALLEST = {"name": "fragment", "data": {"name": "digits"}, "model": "mlp"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_its_experiments_load(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for path in write_files(page.read_text(encoding="utf-8"), tmp_path):
        if path.suffix == ".yaml":
            load(path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_its_fragments_fit_into_an_experiment(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "yaml" and block.file is None:
            parse(SMALLEST | yaml.safe_load(block.body), source=page.name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_its_links_lead_to_files(page: Path) -> None:
    missing = [
        target for target in links(page.read_text(encoding="utf-8")) if not (page.parent / target).exists()
    ]
    assert missing == []


@pytest.mark.parametrize(("page", "command"), EVERY_COMMAND, ids=lambda value: str(value))
def test_its_commands_are_understood(page: str, command: Command) -> None:
    from nnray.cli import app

    program, *arguments = command.words
    if program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        return
    assert program == "nnray", page
    arguments = arguments[: arguments.index(">")] if ">" in arguments else arguments
    group = typer.main.get_command(app)
    verb, rest = arguments[0], arguments[1:]
    assert verb in group.commands, verb  # type: ignore[attr-defined]
    group.commands[verb].make_context(verb, rest)  # type: ignore[attr-defined]


def test_every_verb_is_in_the_reference() -> None:
    from nnray.cli import app

    text = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert [verb for verb in verbs if f"`nnray {verb}" not in text] == []


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page.name for page in PAGES if page.relative_to(ROOT / "docs").as_posix() not in text] == []


def test_the_generated_catalog_has_every_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import hooks

    text = hooks.catalog()
    for entries in CATALOG.values():
        assert all(f"### `{name}`" in text for name in entries)


def test_the_generated_keys_name_every_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import hooks

    text = hooks.experiment_keys()
    keys = [
        "name",
        "seed",
        "data.validation",
        "training.epochs",
        "training.early_stopping.patience",
        "sweep.trials",
    ]
    assert [key for key in keys if f"`{key}`" not in text] == []
