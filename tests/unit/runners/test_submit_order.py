"""What a cluster is asked to run: the same content is the same order, and nothing of it is lost or shown."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from nnray.config import load
from nnray.errors import ClusterError, ConfigError
from nnray.runners.submit import Order, prepare, store_note

FILE = "name: my.e\ndata: digits\nmodel: mlp\n"


@pytest.fixture(autouse=True)
def file(tmp_path: Path) -> Path:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "nnray").mkdir()
    (tmp_path / "nnray/__init__.py").write_text("")
    (tmp_path / "jobs/e.yaml").write_text(FILE)
    return tmp_path / "jobs/e.yaml"


def order(verb: str = "train", *overrides: str, **options: Any) -> Order:
    path = Path("jobs/e.yaml")
    return prepare(verb, path, experiment=load(path, overrides), overrides=overrides, **options)


def test_the_id_says_what_it_is_and_hashes_all_that_counts(file: Path) -> None:
    first = order()
    assert first.id.startswith("my-e-train-")
    assert order() == first
    assert order(options=["--quiet"]).digest == first.digest
    others = [
        order("sweep"),
        order("train", "seed=1"),
        order(env=["A=1"]),
        order(env=["A=2"]),
    ]
    file.write_text(FILE + "seed: 1\n")
    others.append(order())
    assert len({other.id for other in (first, *others)}) == 6
    assert order(job="mine").id == "mine"


def run(made: Order, folder: Path, **variables: str) -> list[str]:
    """What the head's shell would run; `python` prints its arguments, and the store."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    (programs / "python").write_text(
        '#!/bin/sh\nfor word in "$@"; do echo "$word"; done\necho "$MLFLOW_TRACKING_URI"\n'
    )
    (programs / "python").chmod(0o755)
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(folder / "my home"), **variables}
    done = subprocess.run(
        made.entrypoint, shell=True, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_what_stays_is_kept_in_the_heads_home(tmp_path: Path) -> None:
    made = order("train", "name=x", options=["--json"])
    *words, store = run(made, tmp_path)
    home = tmp_path / "my home/nnray"
    assert home.is_dir()
    assert words == [
        "-m", "nnray.cli", "train", "jobs/e.yaml", "name=x", "--json", "--once", made.id,
        f"tracking.dir={home}/runs",
    ]  # fmt: skip
    assert store == f"sqlite:///{home}/mlflow.db"


def test_the_operator_says_where_home_and_store_are(tmp_path: Path) -> None:
    *words, store = run(
        order(), tmp_path, NNRAY_HOME=str(tmp_path / "shared"), MLFLOW_TRACKING_URI="http://m:5000"
    )
    assert words[-1] == f"tracking.dir={tmp_path}/shared/runs"
    assert store == "http://m:5000"


@pytest.mark.parametrize("value", ["a b", "a'b", 'a"b', "$HOME", "`ls`", "a;b", "*", "\\"])
def test_overrides_come_through_the_shell_as_they_are(tmp_path: Path, value: str) -> None:
    text = "data.root=" + ("'" + value.replace("'", "''") + "'")
    words = run(order("train", text), tmp_path)
    assert words[4] == text
    assert shlex.split(order("train", text).command)[2] == text


def test_a_folder_for_runs_that_is_absolute_is_kept(tmp_path: Path) -> None:
    assert run(order("train", "tracking.dir=/srv/runs"), tmp_path)[-2].startswith("my-e-train")
    assert run(order("train", "tracking.dir=my runs"), tmp_path)[-2].endswith("/nnray/my runs")


@pytest.mark.parametrize("uri", ["sqlite:///mlflow.db", "sqlite:///sub/mlflow.db"])
def test_a_store_that_would_go_with_the_job_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"tracking.uri: 'sqlite:.*goes with the job"):
        order("train", f"tracking.uri={uri}")
    order("train", "tracking.uri=sqlite:////srv/mlflow.db")
    order("train", "tracking.uri=http://mlflow:5000")


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "MY_TOKEN", "MLFLOW_TRACKING_PASSWORD", "api_key"])
def test_secrets_are_not_shipped(name: str) -> None:
    with pytest.raises(ClusterError, match=f"--env {name}: a secret would be shown") as caught:
        order(env=[f"{name}=hidden"])
    assert "hidden" not in str(caught.value)


def test_variables_come_from_here_or_as_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "value")
    monkeypatch.setenv("STORE", "http://me:hidden@m")
    assert {"HERE": "value", "B": "a=b", "MONKEY": ""}.items() <= order(
        env=["HERE", "B=a=b", "MONKEY="]
    ).environment.items()
    for bad in ("GONE", "STORE", "URI=http://me:hidden@m", "1X=1", "=1"):
        with pytest.raises(ClusterError, match="--env") as caught:
            order(env=[bad])
        assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"verb": "trian"}, "can't submit 'trian': did you mean 'train'"),
        ({"job": "a.2"}, "--id 'a.2': allowed are letters"),
        ({"job": "a/b"}, "--id 'a/b'"),
        ({"project": Path("nnray")}, "is not in the project's folder nnray"),
    ],
)
def test_what_cant_be_asked_for_says_what_can(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ClusterError, match=expected):
        order(**options)


def test_relative_paths_start_where_they_do_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert order().command == "train jobs/e.yaml"
    assert order(project=Path("jobs")).command == "train e.yaml"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    path = Path("../jobs/e.yaml")
    assert prepare("train", path, experiment=load(path)).command == "train e.yaml"


def test_a_store_of_this_machine_is_not_passed_on_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    experiment = load("jobs/e.yaml")
    assert store_note(experiment, {}) == ""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    assert "is not passed on" in store_note(experiment, {})
    assert store_note(experiment, {"MLFLOW_TRACKING_URI": "x"}) == ""
    assert store_note(load("jobs/e.yaml", ["tracking.uri=http://m"]), {}) == ""
