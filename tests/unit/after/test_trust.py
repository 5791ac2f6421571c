"""A stranger's model runs no code of its maker's: each way in is tried with one that would leave a mark."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import nnray
from nnray.assembly.described import ABOUT, WEIGHTS
from nnray.errors import NnrayError, RunError
from nnray.runners.subject import open_subject
from nnray.tracking.stored import fetch_files, find_stored
from tests.unit.after.conftest import Trained


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


class Trap(nn.Module):
    """A network that carries a payload."""

    def __init__(self, mark: Path) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)
        self.payload = Payload(mark)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(1))


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "mark"


def test_the_payload_works(mark: Path) -> None:
    pickle.loads(pickle.dumps(Payload(mark)))
    assert mark.is_dir()


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".pkl"])
@pytest.mark.parametrize("kind", ["network", "weights", "pickle"])
def test_a_file_with_a_payload_is_refused(
    kind: str, suffix: str, mark: Path, trained: Trained, tmp_path: Path
) -> None:
    path = tmp_path / f"model{suffix}"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Payload(mark)))
    else:
        torch.save(Trap(mark) if kind == "network" else {"w": torch.ones(1), "p": Payload(mark)}, path)
    with pytest.raises(RunError, match=r"unpickle.*--trust"):
        open_subject(str(path), experiment=trained.folder / "plain.yaml")
    assert not mark.exists()


def test_with_trust_it_runs(mark: Path, trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"w": torch.ones(1), "p": Payload(mark)}, path)
    with pytest.raises(RunError, match="expected weights by name"):
        open_subject(str(path), trust=True, experiment=trained.folder / "plain.yaml")
    assert mark.is_dir()


@pytest.fixture
def pickled(mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that MLflow has pickled."""
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    folder = tmp_path / "pickled"
    needed = ["torch", "mlflow"]
    mlflow.pytorch.save_model(Trap(mark), folder, serialization_format="pickle", pip_requirements=needed)
    return folder


def test_a_pickled_model_of_mlflow_is_refused(pickled: Path, mark: Path, trained: Trained) -> None:
    with pytest.raises(RunError, match=r"unpickle.*--trust"):
        open_subject(str(pickled), experiment=trained.folder / "plain.yaml")
    assert not mark.exists()


def test_a_graph_that_may_hold_a_pickle_is_refused(trained: Trained, tmp_path: Path) -> None:
    files = fetch_files(find_stored(trained.result.model_uri, uri=trained.tracking))
    folder = tmp_path / "graph"
    (folder / "data").mkdir(parents=True)
    for name in ("MLmodel", "data/model.pt2"):
        (folder / name).write_bytes((files / name).read_bytes())
    with pytest.raises(RunError, match="--trust"):
        open_subject(str(folder), experiment=trained.folder / "plain.yaml")


def stranger(trained: Trained, folder: Path, **sections: Any) -> Path:
    """A model whose description says something else."""
    files = fetch_files(find_stored(trained.result.model_uri, uri=trained.tracking))
    folder.mkdir(parents=True)
    about = json.loads((files / ABOUT).read_bytes())
    about["experiment"].update(sections)
    (folder / ABOUT).write_text(json.dumps(about))
    (folder / WEIGHTS).write_bytes((files / WEIGHTS).read_bytes())
    return folder


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a stranger's, with code that leaves a mark; the user stands in it."""
    code = "import os\nos.mkdir('mark')\ndef net(info, **keys):\n    return None\n"
    (tmp_path / "their_code.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    return tmp_path


@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"name": "their_code:net"}},
        {"model": "their_code:net"},
        {"loss": "their_code:net"},
        {"optimizer": "their_code:net"},
        {"data": {"name": "digits", "augment": ["their_code:net"]}},
        {"task": {"name": "their_code:net"}},
    ],
)
def test_a_description_that_names_code_is_refused(
    sections: dict[str, Any], trained: Trained, theirs: Path
) -> None:
    folder = stranger(trained, theirs / "model", **sections)
    with pytest.raises(RunError, match=r"would run their_code:net.*--trust"):
        open_subject(str(folder))
    assert not (theirs / "mark").exists()


def test_a_member_that_names_code_is_refused(trained: Trained, theirs: Path) -> None:
    folder = stranger(trained, theirs / "model", model="their_code:net")
    member = json.loads((folder / ABOUT).read_text())
    (folder / ABOUT).write_text(json.dumps({"version": 1, "members": [member], "combine": {"name": "mean"}}))
    with pytest.raises(RunError, match=r"would run their_code:net.*--trust"):
        open_subject(str(folder))
    assert not (theirs / "mark").exists()


def test_a_run_of_somebody_elses_is_not_ones_own(trained: Trained, theirs: Path) -> None:
    store = f"sqlite:///{theirs}/mlflow.db"
    folder = shutil.copytree(trained.result.folder, theirs / "run")
    result = nnray.train(
        trained.folder / "plain.yaml",
        [f"tracking.uri={store}", f"tracking.dir={theirs}/runs", "training.epochs=1"],
        quiet=True,
    )
    stored = find_stored(result.model_uri, uri=store)
    about = fetch_files(stored) / ABOUT
    described = json.loads(about.read_bytes())
    described["experiment"]["model"] = {"name": "their_code:net"}
    about.write_text(json.dumps(described))
    (folder / "result.json").write_text((result.folder / "result.json").read_text())
    with pytest.raises(RunError, match=r"would run their_code:net.*--trust"):
        open_subject(str(folder))
    assert not (theirs / "mark").exists()


def test_modules_of_the_working_folder_shadow_nothing(trained: Trained, theirs: Path) -> None:
    before = [*sys.path]
    open_subject(str(stranger(trained, theirs / "model")))
    assert sys.path == before
    folder = stranger(trained, theirs / "other", model="their_code:net")
    with pytest.raises(NnrayError):
        open_subject(str(folder), trust=True)
    assert sys.path[: len(before)] == before and (theirs / "mark").exists()


def test_weights_alone_are_opened_with_their_experiment(trained: Trained, tmp_path: Path) -> None:
    files = fetch_files(find_stored(trained.result.model_uri, uri=trained.tracking))
    whole = load_file(files / WEIGHTS)
    inner = {name.removeprefix("net."): value for name, value in whole.items() if name.startswith("net.")}
    save_file(inner, tmp_path / "inner.safetensors")
    torch.save(whole, tmp_path / "whole.pt")
    for name in ("inner.safetensors", "whole.pt"):
        subject = open_subject(str(tmp_path / name), experiment=trained.folder / "plain.yaml")
        assert subject.sha256 == trained.result.model_sha256, name
    with pytest.raises(RunError, match="--experiment"):
        open_subject(str(tmp_path / "whole.pt"))


def test_weights_of_another_network_are_refused(trained: Trained, tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.ones(2, 2)}, tmp_path / "other.pt")
    with pytest.raises(RunError, match="another network"):
        open_subject(str(tmp_path / "other.pt"), experiment=trained.folder / "plain.yaml")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04broken"])
def test_a_file_that_is_no_model_is_said(content: bytes, trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(RunError):
        open_subject(str(path), experiment=trained.folder / "plain.yaml")
