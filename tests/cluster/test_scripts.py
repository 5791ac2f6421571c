"""The shell scripts: what ShellCheck says of them, and what they do."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from tests.cluster.files import CLUSTER, SCRIPTS
from tests.cluster.programs import program
from tests.conftest import ROOT

EVERY = pytest.mark.parametrize("script", [*SCRIPTS, ROOT / ".ci/run"], ids=lambda path: path.name)


def shellcheck(text: str) -> str:
    command = [program("shellcheck"), "--shell", "bash", "--severity", "style", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False).stdout


@EVERY
def test_shellcheck_has_nothing_to_say(script: Path) -> None:
    assert shellcheck(script.read_text(encoding="utf-8")) == ""


@pytest.mark.parametrize("text", ["rm -rf $1/x", "cd /tmp", "echo `ls`", "export X=$(false)"])
def test_shellcheck_finds_a_mistake(text: str) -> None:
    assert "SC" in shellcheck(f"#!/bin/bash\n{text}\n")


@EVERY
def test_it_runs_and_stops_at_the_first_failure(script: Path) -> None:
    assert os.access(script, os.X_OK)
    text = script.read_text(encoding="utf-8")
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in text


def make_secrets(folder: Path) -> dict[str, str]:
    subprocess.run([CLUSTER / "secrets.sh", folder], check=True, capture_output=True)
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_secrets_are_long_all_different_and_kept(tmp_path: Path) -> None:
    first = make_secrets(tmp_path / "secrets")
    random = [text for name, text in first.items() if name != "mlflow_credentials"]
    assert len(random) == len(set(random)) == 5
    assert all(re.fullmatch("[0-9a-f]{64}", text) for text in random)
    assert make_secrets(tmp_path / "secrets") == first


def test_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o755)
    (folder / "ray_token").write_text("mine", encoding="utf-8")
    assert make_secrets(folder)["ray_token"] == "mine"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_mlflows_client_takes_the_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow.utils.credentials as credentials

    home = tmp_path / "home"
    secrets = make_secrets(home / ".mlflow")
    (home / ".mlflow/mlflow_credentials").rename(home / ".mlflow/credentials")
    monkeypatch.setattr(credentials, "_get_credentials_path", lambda: home / ".mlflow/credentials")
    found = credentials.read_mlflow_creds()
    assert (found.username, found.password) == ("admin", secrets["mlflow_admin_password"])


def test_a_wrong_part_is_refused_before_anything_is_installed(tmp_path: Path) -> None:
    done = subprocess.run(
        [CLUSTER / "install.sh", "python-that-is-not-there", "everything"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "'dependencies' or nothing, not 'everything'" in done.stderr


def test_what_installs_a_node_is_pinned_by_hash(tmp_path: Path) -> None:
    """A stand-in for Python notes what it is asked for, and keeps the file that pins uv."""
    notes, pins = tmp_path / "notes", tmp_path / "pins"
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/bash\necho "$*" >> {notes}\n'
        f'case "$*" in *require-hashes*) cat "${{@: -1}}" > {pins};; esac\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    subprocess.run([CLUSTER / "install.sh", python], check=True)
    bootstrap, dependencies, package = notes.read_text(encoding="utf-8").splitlines()
    assert "--require-hashes" in bootstrap
    assert re.fullmatch(
        r"uv==\S+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", pins.read_text(encoding="utf-8")
    )
    assert dependencies.endswith("--build-constraint requirements.lock -r pyproject.toml --extra cluster")
    assert package.endswith("--no-deps .")
    assert all("--constraint requirements.lock" in line for line in (dependencies, package))
