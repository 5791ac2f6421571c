"""Models as MLflow sees them: signature, example, requirements, metrics, and what can't be written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from nnray.errors import IncompatibleModel
from nnray.tracking import MetricRow, MlflowTracker
from nnray.tracking.mlmodel import requirements
from nnray.tracking.model_files import save_model

LONG_S = 120.0
EXAMPLE = np.zeros((2, 1, 8, 8), np.float32)


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(36, 10),
    )


class Branching(nn.Module):
    """Its graph depends on the values that it is given."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        flat = inputs.flatten(1)
        return flat if flat.sum() > 0 else flat[:, :3]


@pytest.fixture
def tracker(store_uri: str) -> Iterator[MlflowTracker]:
    made = MlflowTracker(store_uri, experiment="models")
    yield made
    made.close(LONG_S)


@pytest.fixture
def client(store_uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(store_uri, store_uri)


def test_a_model_says_what_it_takes_and_gives(tracker: MlflowTracker) -> None:
    import mlflow

    run = tracker.start_run(name="one", verb="train")
    record = tracker.log_model(run, module=net(), example=EXAMPLE).result(LONG_S)
    info = mlflow.models.get_model_info(record.uri)
    assert info.signature.inputs.inputs[0].shape == (-1, 1, 8, 8)
    assert info.signature.outputs.inputs[0].shape == (-1, 10)
    assert info.signature.inputs.inputs[0].type == np.dtype("float32")
    folder = Path(mlflow.artifacts.download_artifacts(record.uri))
    assert set((folder / "requirements.txt").read_text().split()) == set(requirements())
    assert (folder / "data" / "model.pt2").is_file()
    loaded = mlflow.models.Model.load(str(folder))
    np.testing.assert_array_equal(loaded.load_input_example(str(folder)), EXAMPLE)


def test_requirements_name_what_is_installed_without_the_build() -> None:
    assert [text.split("==")[0] for text in requirements()] == ["mlflow", "torch", "numpy"]
    assert f"torch=={torch.__version__.split('+')[0]}" in requirements()


def test_a_model_is_an_output_of_its_run_with_the_runs_own_rows(tracker: MlflowTracker, client: Any) -> None:
    run = tracker.start_run(name="one", verb="train")
    tracker.log_metrics(run, [MetricRow("val_loss", 1.0 / step, step, 10 * step) for step in (1, 2, 3)])
    tracker.log_metrics(run, [MetricRow("test_accuracy", 0.9, 0, 99)])
    metrics = {"val_loss": 0.5, "test_accuracy": 0.9, "size": 12.0}
    record = tracker.log_model(run, module=net(), example=EXAMPLE, step=2, metrics=metrics).result(LONG_S)
    run_id = tracker.run_id(run, LONG_S)
    shown = {m.key: (m.value, m.step) for m in client.get_logged_model(record.model_id).metrics}
    assert shown == {"val_loss": (0.5, 2), "test_accuracy": (0.9, 0), "size": (12.0, 2)}
    assert [(o.model_id, o.step) for o in client.get_run(run_id).outputs.model_outputs] == [
        (record.model_id, 2)
    ]
    assert len(client.get_metric_history(run_id, "val_loss")) == 3
    assert len(client.get_metric_history(run_id, "test_accuracy")) == 1


def test_a_model_is_registered_in_a_store_that_is_not_mlflows_default(store_uri: str, tmp_path: Path) -> None:
    """MLflow's own registry code asks its global store for the model: that of the working folder."""
    from mlflow import MlflowClient

    away = tmp_path / "away"
    away.mkdir()
    Path(store_uri.removeprefix("sqlite:///")).rename(away / "mlflow.db")
    uri = f"sqlite:///{away / 'mlflow.db'}"
    tracker = MlflowTracker(uri, experiment="away")
    run = tracker.start_run(name="one", verb="train")
    tracker.log_model(run, module=net(), example=EXAMPLE)
    version = tracker.register(run, "away").result(LONG_S)
    assert tracker.close(LONG_S) == 0
    assert MlflowClient(uri, uri).get_model_version_by_alias("away", "champion").version == int(version)
    assert not (tmp_path / "mlflow.db").exists()


def test_the_champion_loads_by_its_alias_and_links_to_its_model(tracker: MlflowTracker, client: Any) -> None:
    import mlflow.pyfunc

    run = tracker.start_run(name="one", verb="train")
    module = net()
    record = tracker.log_model(run, module=module, example=EXAMPLE, step=4)
    tracker.register(run, "my/net:1").result(LONG_S)
    inputs = np.random.default_rng(0).random((7, 1, 8, 8), np.float32)
    outputs = mlflow.pyfunc.load_model("models:/my_net_1@champion").predict(inputs)
    expected = module.eval()(torch.from_numpy(inputs)).detach().numpy()
    np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-6)
    tags = client.get_logged_model(record.result().model_id).tags
    assert json.loads(tags["mlflow.modelVersions"]) == [{"name": "my_net_1", "version": 1}]


def test_a_model_that_can_not_be_traced_is_named_and_the_rest_goes_on(
    tracker: MlflowTracker, client: Any
) -> None:
    run = tracker.start_run(name="one", verb="train")
    failed = tracker.log_model(run, module=Branching(), example=EXAMPLE)
    with pytest.raises(IncompatibleModel, match=r"torch\.export can't handle.*\n.*Branching"):
        failed.result(LONG_S)
    assert tracker.log_model(run, module=net(), example=EXAMPLE, name="other").result(LONG_S).uri
    assert tracker.flush(LONG_S) == 0
    assert len(tracker.problems()) == 1
    experiment = client.get_experiment_by_name("models").experiment_id
    states = {model.name: str(model.status) for model in client.search_logged_models([experiment])}
    assert states == {"model": "FAILED", "other": "READY"}


class Frozen(nn.Module):
    """Takes the batch size that it is first given for the only one there is."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.reshape(int(inputs.shape[0]), 64)[: min(int(inputs.shape[0]), 2)]


@pytest.mark.parametrize("module", [nn.Linear(3, 2), Branching(), Frozen()], ids=lambda m: type(m).__name__)
def test_a_module_that_fails_or_freezes_its_batch_is_named(module: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(IncompatibleModel, match=f"{type(module).__name__}: .*\n.*forward"):
        save_model(module.eval(), EXAMPLE, folder=tmp_path / "model")


def test_a_full_disk_is_not_the_modules_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr("torch.export.save", full)
    with pytest.raises(OSError, match="can't write the model"):
        save_model(net().eval(), EXAMPLE, folder=tmp_path / "model")


def test_a_compiled_or_training_module_is_logged_as_the_plain_one(tracker: MlflowTracker) -> None:
    import mlflow.pyfunc

    module = net()
    run = tracker.start_run(name="one", verb="train")
    record = tracker.log_model(run, module=torch.compile(module), example=EXAMPLE).result(LONG_S)  # type: ignore[arg-type]
    inputs = np.random.default_rng(0).random((1, 1, 8, 8), np.float32)
    assert module.training
    expected = module.eval()(torch.from_numpy(inputs)).detach().numpy()
    np.testing.assert_allclose(
        mlflow.pyfunc.load_model(record.uri).predict(inputs), expected, rtol=1e-5, atol=1e-6
    )


def test_no_run_is_ever_active_and_mlflows_global_store_is_left_alone(
    tracker: MlflowTracker, store_uri: str
) -> None:
    import mlflow
    from mlflow.tracking._tracking_service import utils

    before = utils._tracking_uri
    run = tracker.start_run(name="one", verb="train")
    tracker.log_model(run, module=net(), example=EXAMPLE).result(LONG_S)
    assert mlflow.active_run() is None
    assert utils._tracking_uri == before


def test_the_spool_keeps_no_files_once_a_model_is_sent(tracker: MlflowTracker) -> None:
    run = tracker.start_run(name="one", verb="train")
    tracker.log_model(run, module=net(), example=EXAMPLE).result(LONG_S)
    assert tracker.flush(LONG_S) == 0
    assert list(tracker._spool.folder.iterdir()) == []
