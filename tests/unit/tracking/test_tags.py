"""What is recorded of code, versions and machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

import nnray
from nnray.tracking.tags import git_tags, machine_tags, run_tags, version_tags


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "net.py").write_text("a = 1\n")
    git(tmp_path, "add", "net.py")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


def test_a_clean_checkout_is_named_by_its_commit(repository: Path) -> None:
    assert git_tags(repository) == {
        "mlflow.source.git.commit": git(repository, "rev-parse", "HEAD"),
        "mlflow.source.git.branch": "main",
        "mlflow.source.git.dirty": "false",
    }


def test_a_changed_file_makes_it_dirty_and_a_new_one_does_not(repository: Path) -> None:
    (repository / "mlflow.db").touch()
    assert git_tags(repository)["mlflow.source.git.dirty"] == "false"
    (repository / "net.py").write_text("a = 2\n")
    assert git_tags(repository)["mlflow.source.git.dirty"] == "true"


def test_a_folder_below_the_repository_has_its_commit(repository: Path) -> None:
    (repository / "deep").mkdir()
    assert git_tags(repository / "deep") == git_tags(repository)


def test_no_repository_no_commit_and_no_git_give_no_tags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert git_tags(tmp_path) == {}
    git(tmp_path, "init", "--quiet")
    assert git_tags(tmp_path) == {}
    monkeypatch.setenv("PATH", "")
    assert git_tags(tmp_path) == {}


def test_versions_are_those_that_are_installed() -> None:
    tags = version_tags()
    assert tags["version.nnray"] == nnray.__version__
    assert tags["version.torch"] == torch.__version__.split("+")[0]
    assert {"version.python", "version.ray", "version.mlflow", "version.optuna", "version.numpy"} <= set(tags)


def test_the_machine_is_described() -> None:
    tags = machine_tags()
    assert int(tags["machine.cores"]) >= 1
    assert float(tags["machine.memory_gib"]) > 0
    assert tags["machine.cpu"]
    assert (tags["machine.gpu"] == "none") == (not torch.cuda.is_available())


def test_a_run_has_them_all_with_its_seed_and_user(repository: Path) -> None:
    tags = run_tags(7, folder=repository)
    assert tags["nnray.seed"] == "7"
    assert tags["mlflow.user"]
    assert tags["mlflow.source.name"]
    assert tags.items() >= {**git_tags(repository), **version_tags()}.items()
    assert all(isinstance(value, str) and len(value) < 5_000 for value in tags.values())


def test_a_user_without_a_name_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert run_tags(0)["mlflow.user"] == "unknown"
