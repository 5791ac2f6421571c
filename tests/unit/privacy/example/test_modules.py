"""Modules that mix examples: named all at once, and replaced where it is asked for."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnray.data.augment import crop, cutmix, flip, mixup
from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, IncompatibleModel
from nnray.models.cnn import cifar_cnn, cnn
from nnray.models.resnet import resnet
from nnray.privacy.example.modules import misfits, replaced, require_fit
from nnray.privacy.example.probe import require_own, require_separate
from nnray.tasks.classification import classification
from tests.unit.privacy.example.networks import INFO, NETWORKS, make, task


def many() -> nn.Module:
    """One module of every kind that doesn't fit, and one that does."""
    linear = nn.Linear(4, 4)
    return nn.Sequential(
        nn.BatchNorm2d(6),
        nn.InstanceNorm2d(6, affine=True, track_running_stats=True),
        nn.LSTM(4, 4),
        nn.MultiheadAttention(4, 2),
        nn.utils.parametrizations.weight_norm(linear),
        nn.GroupNorm(2, 4),
    )


def test_all_misfits_are_named_with_what_to_use() -> None:
    with pytest.raises(IncompatibleModel) as caught:
        require_fit(many())
    text = str(caught.value)
    for words in (
        "5 module(s)",
        "0 (BatchNorm2d): mixes the examples of a batch: use GroupNorm(2, 6",
        "1 (InstanceNorm2d)",
        "2 (LSTM)",
        "opacus.layers.DPLSTM",
        "3 (MultiheadAttention)",
        "4 (ParametrizedLinear)",
        "privacy.replace_modules: true for those",
    ):
        assert words in text
    assert str(pickle.loads(pickle.dumps(caught.value))) == text


def test_where_all_can_be_replaced_the_flag_is_the_advice() -> None:
    with pytest.raises(IncompatibleModel, match="replace_modules: true, which does it"):
        require_fit(cnn(INFO, norm="batch"))


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_what_takes_each_example_by_itself_is_let_pass(name: str) -> None:
    model = make(name)
    require_fit(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    require_separate(model, task(), info=INFO)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert model.training and all(param.grad is None for param in model.parameters())


def test_dropout_is_let_pass() -> None:
    require_separate(cnn(INFO, dropout=0.5).train(), task(), info=INFO)


@pytest.mark.parametrize("build", [lambda: cnn(INFO, norm="batch"), lambda: resnet(INFO, depth=20, width=8)])
def test_replaced_networks_fit_and_have_as_many_channels(build: object) -> None:
    old = build().train()  # type: ignore[operator]
    channels = [module.num_features for module in old.modules() if isinstance(module, nn.BatchNorm2d)]
    model = replaced(old)
    found = [module for module in model.modules() if isinstance(module, nn.GroupNorm)]
    assert [norm.num_channels for norm in found] == channels
    assert not misfits(model)
    require_separate(model, task(), info=INFO)


def test_batch_norm_over_vectors_becomes_one_group() -> None:
    model = replaced(nn.Sequential(nn.Flatten(), nn.Linear(144, 16), nn.BatchNorm1d(16), nn.Linear(16, 3)))
    norm = model[2]  # type: ignore[index]
    assert isinstance(norm, nn.GroupNorm) and norm.num_groups == 1
    assert float(norm(torch.randn(3, 16)).detach().abs().max()) > 0.1


def test_a_model_that_is_one_norm_is_replaced_itself() -> None:
    assert isinstance(replaced(nn.BatchNorm2d(4, affine=False)), nn.GroupNorm)
    kept = replaced(nn.Sequential(nn.InstanceNorm2d(3, track_running_stats=True)))[0]  # type: ignore[index]
    assert isinstance(kept, nn.InstanceNorm2d) and not list(kept.buffers())


class Mixing(nn.Module):
    """A layer of a user's own that looks at the whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(144, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.linear(x - x.mean(0))


class Counting(nn.Module):
    """A buffer that remembers the examples."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(144, 3)
        self.register_buffer("seen", torch.zeros(144))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        self.seen = self.seen + x.detach().sum(0)
        return self.linear(x)


class Functional(nn.Module):
    """A weight that no module of its own holds, and dropout between: nothing that hooks can see."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 144) / 12)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(x.flatten(1)) @ self.weight.T


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Mixing(), "linear.weight: an example's gradient depends on the others"),
        (Counting(), "seen: a buffer that changes"),
        (Functional(), "RuntimeError"),
    ],
)
def test_what_a_users_own_module_mixes_is_found(model: nn.Module, words: str) -> None:
    assert not misfits(model)
    with pytest.raises(IncompatibleModel, match=words):
        require_separate(model.train(), task(), info=INFO)


@pytest.mark.parametrize("weights", [[1.0, 2.0, 5.0], [1.0, 1.0, 1.1]])
def test_a_loss_that_weighs_examples_against_each_other_is_refused(weights: list[float]) -> None:
    with pytest.raises(ConfigError, match="class_weights"):
        require_separate(make("mlp"), classification(INFO, class_weights=weights), info=INFO)


def test_augmentations_that_mix_examples_are_named() -> None:
    augment = {
        "flip": flip(INFO),
        "mixup": mixup(INFO, p=0.1),
        "cutmix": cutmix(INFO),
        "crop": crop(INFO),
    }
    with pytest.raises(ConfigError) as caught:
        require_own(list(augment.items()), INFO)
    assert [problem.message.split()[0] for problem in caught.value.problems] == ["mixup", "cutmix"]
    require_own([("flip", flip(INFO)), ("crop", crop(INFO))], INFO)


@pytest.mark.parametrize(("kind", "shape"), [("classes", (8, 8)), ("boxes", (3, 5))])
def test_augmentations_that_move_targets_along_are_taken(kind: Any, shape: tuple[int, ...]) -> None:
    info = DataInfo("made up", (1, 8, 8), tuple("abc"), targets=kind, target_shape=shape)
    require_own([("flip", flip(info)), ("crop", crop(info))], info)


def test_other_families_of_networks_fit_once_replaced() -> None:
    for model in (cifar_cnn(INFO, norm="batch"), cifar_cnn(INFO, norm="group", dropout=0.2)):
        require_separate(replaced(model).train(), task(), info=INFO)
