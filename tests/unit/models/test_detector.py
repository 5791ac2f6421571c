"""Laws of models, for detectors: they give losses in training and boxes in evaluation."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnray.data.shapes import shapes
from nnray.data.splits import DataInfo, Examples
from nnray.errors import DataError
from nnray.metrics import to_sums
from nnray.models.detector import detector
from nnray.models.preprocess import Preprocessed, preprocess, require_outputs
from nnray.registry import parameters
from nnray.seeding import torch_seeded
from nnray.tasks.detection import detection

INFO = DataInfo("shapes", (3, 32, 32), ("disc", "square", "triangle"), targets="boxes", target_shape=(4, 5))
every_arch = pytest.mark.parametrize("arch", ["fcos", "retinanet"])


def make(info: DataInfo = INFO, **options: Any) -> Preprocessed:
    with torch_seeded(1, "init"):
        return preprocess(detector(info, **{"channels": (8, 8, 32), **options}), info)


def drawn(count: int = 6) -> tuple[Tensor, Tensor]:
    train = shapes(kind="boxes", examples=count, size=32).train
    assert isinstance(train, Examples)
    return train.inputs.float() / 255, train.targets


def learnt(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return detection(INFO).loss_of(model.train(), inputs, targets)[1]


@every_arch
def test_gradients_reach_every_parameter(arch: str) -> None:
    model = make(arch=arch)
    loss = learnt(model, *drawn())
    loss.backward()
    assert loss.isfinite()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


@every_arch
def test_images_without_boxes_can_be_learnt_from(arch: str) -> None:
    model, (inputs, targets) = make(arch=arch), drawn(1)
    none = torch.tensor([-1.0, 0, 0, 0, 0]).expand_as(targets)
    loss = learnt(model, inputs, none)
    assert loss.isfinite()
    with torch.no_grad():
        assert torch.equal(model(inputs).sum(), loss)


@every_arch
def test_boxes_lie_in_the_image_the_surest_first_and_the_rest_is_padding(arch: str) -> None:
    model = make(arch=arch, min_score=0.0, max_detections=7).eval()
    with torch.no_grad():
        outputs = model(drawn()[0])
    assert outputs.shape == (6, 7, 6)
    there = outputs[..., 0] >= 0
    assert there.any()
    assert set(outputs[..., 0].unique().tolist()) <= {-1.0, 0.0, 1.0, 2.0}
    assert outputs[..., 1:5].min() >= 0 and outputs[..., 1:5].max() <= 32
    assert (outputs[..., 5].diff(dim=1) <= 0).all()
    assert not outputs[~there][:, 1:].any()
    require_outputs("detector", model, info=INFO)


@every_arch
def test_evaluation_treats_each_image_alone(arch: str) -> None:
    model, (inputs, _) = make(arch=arch, min_score=0.0, dropout=0.5).eval(), drawn(3)
    with torch.no_grad():
        alone = torch.cat([model(inputs[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(model(inputs), alone, rtol=1e-4, atol=1e-4)


@every_arch
def test_weights_come_from_the_seed_and_make_a_round_trip(arch: str) -> None:
    one, other = make(arch=arch), make(arch=arch)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    other.load_state_dict(one.state_dict())
    inputs, _ = drawn(2)
    with torch.no_grad():
        assert torch.equal(one.eval()(inputs), other.eval()(inputs))


def test_dropout_keeps_the_keys() -> None:
    assert make(dropout=0.5).state_dict().keys() == make().state_dict().keys()
    model, (inputs, targets) = make(dropout=0.5), drawn()
    assert not torch.equal(learnt(model, inputs, targets), learnt(model, inputs, targets))


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 17, 23), (2, 40, 24)])
@every_arch
def test_any_size_and_number_of_channels_will_do(arch: str, shape: tuple[int, int, int]) -> None:
    info = dataclasses.replace(INFO, input_shape=shape)
    model = make(info, arch=arch, min_score=0.0)
    x = torch.rand(2, *shape)
    targets = torch.tensor([[[1.0, 2, 2, 12, 12]]]).expand(2, 1, 5)
    assert learnt(model, x, targets).isfinite()
    with torch.no_grad():
        outputs = model.eval()(x)
    assert outputs[..., [1, 3]].max() <= shape[2] and outputs[..., [2, 4]].max() <= shape[1]


@every_arch
def test_a_few_images_can_be_learnt_by_heart(arch: str) -> None:
    model, (inputs, targets) = make(arch=arch), drawn(2)
    task, optimizer = detection(INFO), torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        learnt(model, inputs, targets).backward()
        optimizer.step()
    with torch.no_grad():
        sums = to_sums(task.eval_sums(model.eval()(inputs), targets), len(targets))
    assert task.summarize(sums)["map50"] > 0.9


def test_every_key_has_a_type_and_a_line_of_help() -> None:
    for key, parameter in parameters("model", "detector").items():
        assert parameter.type is not Any, key
        assert parameter.help and not parameter.required, key


def test_what_it_can_t_do_is_refused() -> None:
    with pytest.raises(DataError, match=r"gives boxes, data set shapes has targets of kind class"):
        detector(dataclasses.replace(INFO, targets="class"))
    with pytest.raises(DataError, match=r"\[8, 20\]; the last must be a multiple of 32"):
        detector(INFO, channels=(8, 20))
    with pytest.raises(DataError, match=r"16 x 16 pixels or more.*have 8 x 8"):
        detector(dataclasses.replace(INFO, input_shape=(3, 8, 8)))
