"""A trained model, written for others and recorded with its run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from torch import nn

from nnray.api import export
from nnray.errors import ConfigError, IncompatibleModel
from nnray.runners.export import export as runner
from nnray.runners.export.order import Order, Written
from nnray.runners.export.verify import inputs_like
from nnray.runners.outcome import near
from nnray.runners.subject import open_subject
from tests.unit.after.conftest import Trained


def write(trained: Trained, to: Any, **options: Any) -> Any:
    return export(trained.result, to=to, root=trained.root, **options)


@pytest.mark.parametrize("to", ["torch-export", "onnx", "safetensors"])
def test_it_is_written_verified_and_recorded(to: str, conv: Trained, tmp_path: Path) -> None:
    done = write(conv, to, out=tmp_path / "out")
    assert done.max_difference.keys() == {1, 7}
    assert max(done.max_difference.values()) == done.metrics["max_difference"] < 1e-4
    assert (done.opset is not None) == (to == "onnx")
    assert done.file_sha256 == hashlib.sha256(Path(done.files[0]).read_bytes()).hexdigest()
    assert done.file_bytes == sum(Path(file).stat().st_size for file in done.files)
    assert all(Path(file).parent == tmp_path / "out" for file in done.files)
    client = MlflowClient(conv.tracking)
    recorded = {Path(file.path).name for file in client.list_artifacts(conv.result.run_id, "export")}
    assert {Path(file).name for file in done.files} <= recorded
    assert client.get_run(conv.result.run_id).data.metrics["export.max_difference"] < 1e-4
    assert json.loads(json.dumps(done.to_dict()))["max_difference"].keys() == {"1", "7"}
    assert to in done.summary() and near(done.files[0]) in done.summary()


def test_the_weights_are_a_model_for_every_verb(trained: Trained, tmp_path: Path) -> None:
    done = write(trained, "safetensors", out=tmp_path / "out")
    assert done.file_sha256 == done.model_sha256 == trained.result.model_sha256
    again, first = open_subject(str(tmp_path / "out")), open_subject(str(trained.result.folder))
    inputs = inputs_like(first.info, 3)
    assert torch.equal(again.module(inputs), first.module(inputs))


def test_by_default_it_lies_in_the_runs_folder(trained: Trained) -> None:
    done = write(trained, "torch-export")
    assert Path(done.files[0]).is_relative_to(trained.result.folder)


def test_a_file_that_gives_something_else_is_not_left(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(order: Order, folder: Path) -> Written:
        path = folder / "model.onnx"
        path.write_bytes(b"wrong")
        return Written((path,), nn.Flatten())

    monkeypatch.setattr(runner, "_WRITERS", {"onnx": wrong})
    (tmp_path / "mine").write_text("stays")
    with pytest.raises(IncompatibleModel, match="differ by up to inf"):
        write(trained, "onnx", out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("to", "opset", "words"),
    [
        ("pickle", None, "unknown format 'pickle'; allowed: torch-export, onnx, safetensors"),
        ("safetensors", 20, "opset: is of format onnx: leave it out"),
    ],
)
def test_what_makes_no_sense_is_refused(to: str, opset: int | None, words: str, trained: Trained) -> None:
    with pytest.raises(ConfigError, match=words):
        write(trained, to, opset=opset)
