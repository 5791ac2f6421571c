"""``nnray explain`` on trained models: what is chosen, checked, drawn and recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from nnray import api
from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, DataError, IncompatibleModel
from nnray.runners.explanation import chosen, read_methods
from nnray.runners.explanation.pictures import shorten
from nnray.runners.subject import Subject, open_subject
from tests.unit.after.conftest import Trained


def explain(model: Trained, method: Any = "integrated_gradients", **options: Any) -> Any:
    return api.explain(model.result, method, root=model.root, **options)


def subject_of(model: Trained) -> Subject:
    return open_subject(model.result.run_id, root=model.root, tracking=model.tracking)


def test_a_network_of_pictures_is_explained_checked_drawn_and_recorded(conv: Trained, tmp_path: Path) -> None:
    found = explain(conv, ["integrated_gradients", "grad_cam"], index=[5, 2], out=tmp_path)
    assert [one["name"] for one in found.examples] == ["test 5", "test 2"]
    assert found.metrics["integrated_gradients.completeness_error_max"] < 0.01
    assert found.metrics["grad_cam.randomised_correlation"] < 0.9
    assert found.methods["grad_cam"]["layer"] == "net.activation2"
    names = {"integrated_gradients.png", "grad_cam.png", "attributions.npz", "explanation.json"}
    assert {path.name for path in tmp_path.iterdir()} == names == {Path(file).name for file in found.files}
    saved = np.load(tmp_path / "attributions.npz", allow_pickle=False)
    assert saved["grad_cam"].shape == saved["inputs"].shape == (2, 1, 8, 8)
    assert np.array_equal(saved["integrated_gradients"], found.attributions["integrated_gradients"].numpy())
    assert matplotlib.image.imread(tmp_path / "grad_cam.png")[..., :3].std() > 0.05
    told = json.loads((tmp_path / "explanation.json").read_text())
    assert told["examples"] == found.to_dict()["examples"]
    client = MlflowClient(conv.tracking)
    metrics = client.get_run(found.run_id).data.metrics
    assert (
        metrics["explain.grad_cam.randomised_correlation"] == found.metrics["grad_cam.randomised_correlation"]
    )
    assert {Path(item.path).name for item in client.list_artifacts(found.run_id, "explain")} == names
    json.dumps(found.to_dict())
    assert "adds up to the gain in score within" in found.summary()


def test_what_is_wrong_comes_in_order_of_confidence(trained: Trained) -> None:
    wrong = explain(trained, "saliency", wrong=4, check=False).examples
    assert all(one["label"] != one["predicted"] == one["target"] for one in wrong)
    confidences = [one["confidence"] for one in wrong]
    assert confidences == sorted(confidences, reverse=True)
    subject = subject_of(trained)
    inputs, targets = map(torch.cat, zip(*subject.batches("test").epoch(0), strict=True))
    most, said = subject.module(inputs).softmax(1).max(1)
    assert confidences[0] == pytest.approx(most[said != targets].max().item())


def test_a_class_can_be_asked_for_by_name(trained: Trained) -> None:
    asked = explain(trained, "saliency", index=[0], target="7", check=False)
    assert asked.examples[0]["target"] == "7"
    assert "randomised" not in asked.methods["saliency"]
    with pytest.raises(ConfigError, match=r"no class 'seven'.*allowed: 0, 1"):
        explain(trained, "saliency", index=[0], target="seven")


def test_files_are_explained(trained: Trained, tmp_path: Path) -> None:
    inputs = subject_of(trained).examples("test").take(torch.tensor([3, 1])).inputs  # type: ignore[union-attr]
    np.savez(tmp_path / "some.npz", x=inputs.numpy())
    found = explain(trained, "occlusion", inputs=tmp_path / "some.npz", check=False)
    wanted = explain(trained, "occlusion", index=[3, 1], check=False)
    torch.testing.assert_close(found.attributions["occlusion"], wanted.attributions["occlusion"])
    assert [one["label"] for one in found.examples] == [None, None]


def test_the_first_examples_are_taken_where_nobody_chooses(trained: Trained) -> None:
    found = explain(trained, "saliency", split="val", check=False)
    assert [one["name"] for one in found.examples] == [f"val {place}" for place in range(6)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"index": [100_000]}, "has no example 100000; it has"),
        ({"index": range(300)}, "300 inputs can't be explained at once"),
    ],
)
def test_examples_that_are_not_there_are_refused(trained: Trained, options: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        explain(trained, "saliency", **options)


def test_only_one_way_of_choosing_is_taken(trained: Trained) -> None:
    with pytest.raises(ConfigError, match="one of inputs, index and wrong"):
        explain(trained, "saliency", index=[1], wrong=2)


def test_grad_cam_of_a_network_without_maps_is_refused_and_leaves_no_record(trained: Trained) -> None:
    with pytest.raises(IncompatibleModel, match="its output has no height and width"):
        explain(trained, "grad_cam", index=[0])
    data = MlflowClient(trained.tracking).get_run(trained.result.run_id).data
    assert not [name for name in data.metrics if name.startswith("explain.grad_cam")]


def test_methods_are_read_with_their_keys() -> None:
    assert read_methods(["shap:samples=8,way=kernel", "saliency"]) == [
        {"name": "shap", "samples": 8, "way": "kernel"},
        {"name": "saliency"},
    ]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["salience"], "did you mean 'saliency'"),
        (["shap:samples=0"], "samples"),
        (["shap:sample=4"], "did you mean 'samples'"),
        (["shap:seed=4"], "seed"),
        (["saliency", "saliency"], "named twice"),
        ([], "no method"),
    ],
)
def test_methods_that_are_none_are_told_of(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_methods(texts)


def test_what_is_missing_is_given_the_mean() -> None:
    info = DataInfo("table", (2,), ("a", "b"), mean=(3.0, 4.0), std=(1.0, 1.0), missing=True)
    inputs = torch.tensor([[float("nan"), 1.0]])
    assert chosen.filled(inputs, info).tolist() == [[3.0, 1.0]]


def test_peoples_texts_are_drawn_as_they_are() -> None:
    assert shorten("a $b$") == r"a \$b\$"
    assert len(shorten("x" * 99)) == 24
