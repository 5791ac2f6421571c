"""Transfer: what a network begins with, what stays frozen, and how fast each layer learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import nnray
from nnray.assembly import assemble, build_model, load_data
from nnray.assembly.transfer import groups_of
from nnray.config import Experiment, load, parse
from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, RunError
from nnray.models.freeze import freeze, matching
from nnray.models.preprocess import preprocess
from nnray.runners.pinned import MODELS, pinned
from nnray.runners.subject import open_subject
from tests.unit.after.conftest import Trained


def experiment_of(trained: Trained, folder: Path, *overrides: str) -> Experiment:
    places = [f"tracking.uri={trained.tracking}", f"tracking.dir={folder}/runs", "training.epochs=2"]
    return load(trained.folder / "plain.yaml", [*places, *overrides])


def weights_of(trained: Trained) -> dict[str, torch.Tensor]:
    return dict(open_subject(trained.result.model_uri, tracking=trained.tracking).module.state_dict())


def begun(experiment: Experiment) -> nn.Module:
    return assemble(experiment, load_data(experiment)).state.model


def test_a_network_begins_with_the_weights_of_another(trained: Trained, tmp_path: Path) -> None:
    model = begun(pinned(experiment_of(trained, tmp_path, "model.init_from=plain@champion", "seed=7")))
    for name, value in weights_of(trained).items():
        if name.startswith("net."):
            torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0)


def test_what_is_skipped_begins_at_random(trained: Trained, tmp_path: Path) -> None:
    extra = ["model.init_from=plain", "model.init_skip=['net.output.*']", "seed=7"]
    model = begun(pinned(experiment_of(trained, tmp_path, *extra)))
    fresh = begun(experiment_of(trained, tmp_path, "seed=7")).state_dict()
    before = weights_of(trained)
    for name, value in model.state_dict().items():
        source = fresh if name.startswith("net.output.") else before
        if name.startswith("net."):
            torch.testing.assert_close(value, source[name], rtol=0, atol=0)


def test_weights_of_another_shape_are_refused_by_name(trained: Trained, tmp_path: Path) -> None:
    extra = ["model.init_from=plain", "model.hidden=[32, 16]"]
    with pytest.raises(ConfigError) as found:
        begun(pinned(experiment_of(trained, tmp_path, *extra)))
    text = str(found.value)
    assert "net.hidden2.weight" in text and "net.output.weight is [10, 32] there" in text
    assert "model.init_skip" in text


def test_what_a_name_means_is_pinned(trained: Trained, tmp_path: Path) -> None:
    experiment = experiment_of(trained, tmp_path, "model.init_from=plain@champion")
    once, again = pinned(experiment), pinned(experiment)
    folder = Path(str(once.model.init_from))
    assert once == again == pinned(once) and folder.parent == tmp_path / "runs" / MODELS
    assert len(list(folder.parent.iterdir())) == 1
    assert pinned(experiment_of(trained, tmp_path)) == experiment_of(trained, tmp_path)


def test_a_model_that_is_not_there_is_said(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"model\.init_from: no model 'nothing'"):
        pinned(experiment_of(trained, tmp_path, "model.init_from=nothing"))
    gone = experiment_of(trained, tmp_path, f"model.init_from={tmp_path}/gone")
    with pytest.raises(RunError, match="can't read weights"):
        begun(gone)


def test_training_goes_on_from_another_run_and_resumes(trained: Trained, tmp_path: Path) -> None:
    experiment = experiment_of(trained, tmp_path, "model.init_from=plain", "name=tuned")
    result = nnray.train(experiment, quiet=True)
    assert result.metrics["val_loss"] < trained.result.metrics["val_loss"]
    again = open_subject("tuned", root=tmp_path / "runs", tracking=trained.tracking)
    assert again.sha256 == result.model_sha256


def test_a_model_is_opened_where_what_it_began_with_is_gone(trained: Trained, tmp_path: Path) -> None:
    import shutil

    experiment = experiment_of(trained, tmp_path, "model.init_from=plain", "name=orphan")
    result = nnray.train(experiment, quiet=True)
    shutil.rmtree(tmp_path / "runs")
    assert open_subject("orphan", tracking=trained.tracking).sha256 == result.model_sha256


def test_a_federated_run_begins_with_the_weights_too(trained: Trained, tmp_path: Path) -> None:
    from nnray.runners.federated.setting import first_weights, make_setting, module_of

    clients = "federated={clients: 4, rounds: 1, workers: 0}"
    experiment = pinned(experiment_of(trained, tmp_path, "model.init_from=plain", clients, "seed=3"))
    setting = make_setting(experiment, load_data(experiment))
    model = module_of(setting, first_weights(setting))
    before = weights_of(trained)
    name = "net.hidden1.weight"
    torch.testing.assert_close(model.state_dict()[name], before[name], rtol=0, atol=0)


def test_frozen_layers_stay_bit_for_bit_and_others_learn(trained: Trained, tmp_path: Path) -> None:
    extra = [
        "model.init_from=plain",
        "model.freeze=['net.hidden*']",
        "optimizer.weight_decay=0.1",
        "name=frozen",
    ]
    result = nnray.train(experiment_of(trained, tmp_path, *extra), quiet=True)
    after = open_subject(result.model_uri, tracking=trained.tracking).module.state_dict()
    before = weights_of(trained)
    assert torch.equal(after["net.hidden1.weight"], before["net.hidden1.weight"])
    assert not torch.equal(after["net.output.weight"], before["net.output.weight"])


INFO = DataInfo("images", (3, 8, 8), ("a", "b"), mean=(0.5,) * 3, std=(0.2,) * 3)


def batch_norm_net() -> nn.Module:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    return preprocess(net, INFO)


def test_frozen_batch_norm_keeps_its_statistics() -> None:
    model = batch_norm_net()
    freeze(model, ["net.0.*", "net.1.*"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()(torch.rand(8, 3, 8, 8)).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training and not model.get_submodule("net.1").training
    assert model.get_submodule("net.4").weight.grad is not None
    assert model.get_submodule("net.0").weight.grad is None


def test_half_frozen_batch_norm_learns_its_statistics() -> None:
    model = batch_norm_net()
    freeze(model, ["net.1.weight"])
    before = model.get_submodule("net.1").running_mean.clone()
    model.train()(torch.rand(8, 3, 8, 8))
    assert not torch.equal(model.get_submodule("net.1").running_mean, before)


def test_nothing_left_to_train_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to train"):
        freeze(batch_norm_net(), ["*"])


def test_a_pattern_of_nothing_is_said_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"'net.9.\*' matches no parameter.*net.0.bias"):
        matching(["net.0.bias", "net.0.weight"], ["net.9.*"], path="model.freeze")


def trained_with(**optimizer: Any) -> Experiment:
    return parse(
        {
            "name": "rates",
            "data": {"name": "digits"},
            "model": {"name": "mlp", "hidden": [8, 8]},
            "optimizer": {"name": "sgd", "lr": 0.1, **optimizer},
            "training": {"epochs": 1},
        }
    )


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "adagrad", "muon"])
def test_each_layer_learns_at_its_own_rate(name: str) -> None:
    experiment = trained_with(name=name, lr_scale={"net.hidden1.*": 0.25, "net.hidden*": 0.5})
    state = assemble(experiment).state
    rate = {id(p): group["lr"] for group in state.optimizer.param_groups for p in group["params"]}
    expected = {"hidden1": 0.025, "hidden2": 0.05, "output": 0.1}
    for full, param in state.model.named_parameters():
        assert rate[id(param)] == pytest.approx(expected[full.split(".")[1]]), full
    assert state.schedule.lr == pytest.approx(0.1)


def test_a_step_is_scaled_as_said() -> None:
    steps = {}
    for scale in (1.0, 0.5):
        built = assemble(trained_with(lr_scale={"net.hidden1.*": scale}))
        before = {name: p.detach().clone() for name, p in built.state.model.named_parameters()}
        inputs, targets = next(iter(built.train.epoch(1)))
        built.step_fn(built.state, inputs, targets, built.loss_fn)
        steps[scale] = {n: p.detach() - before[n] for n, p in built.state.model.named_parameters()}
    torch.testing.assert_close(steps[0.5]["net.hidden1.weight"], 0.5 * steps[1.0]["net.hidden1.weight"])
    torch.testing.assert_close(steps[0.5]["net.output.weight"], steps[1.0]["net.output.weight"])


def test_plain_training_has_one_group() -> None:
    experiment = trained_with()
    model = build_model(experiment, load_data(experiment).info)
    assert [id(p) for p in groups_of(model, experiment)] == [id(p) for p in model.parameters()]


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"federated": {"clients": 2}}, "model.freeze"),
        ({"privacy": {"unit": "example", "noise_multiplier": 1.0, "delta": 1e-3}}, "model.freeze"),
        ({"parallel": {"strategy": "fsdp"}}, "model.freeze"),
    ],
)
def test_what_freezing_does_not_go_with_is_said(more: dict[str, Any], path: str) -> None:
    tree = {"name": "x", "data": {"name": "digits"}, "model": {"name": "mlp", "freeze": ["net.hidden1.*"]}}
    with pytest.raises(ConfigError, match=f"{path}: is not possible"):
        parse({**tree, **more})


def test_skipping_without_a_model_is_said() -> None:
    tree = {"name": "x", "data": {"name": "digits"}, "model": {"name": "mlp", "init_skip": ["a"]}}
    with pytest.raises(ConfigError, match=r"name one by model\.init_from"):
        parse(tree)
