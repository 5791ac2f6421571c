"""Laws that every explainer of the catalog obeys, on images and on vectors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnray.catalog import CATALOG
from nnray.data.splits import DataInfo
from nnray.explainers.explainer import Complete, Explainer
from nnray.explainers.sanity import cascade, completeness_errors
from nnray.models.cnn import simple_cnn
from nnray.models.mlp import mlp
from nnray.models.preprocess import preprocess
from nnray.registry import build
from nnray.seeding import torch_seeded

IMAGES = DataInfo("images", (3, 9, 12), ("a", "b", "c"), mean=(0.4, 0.5, 0.6), std=(0.3, 0.2, 0.1))
VECTORS = DataInfo("vectors", (6,), ("a", "b", "c"), mean=(0.0, 1.0, -1.0, 3.0, 0.5, 0.2), std=(1.0, 2.0) * 3)
NAMES = sorted(CATALOG["explainer"])
SUBJECTS = [
    (name, info) for name in NAMES for info in (IMAGES, VECTORS) if (name, info) != ("grad_cam", VECTORS)
]
every_subject = pytest.mark.parametrize(
    ("name", "info"), SUBJECTS, ids=lambda value: getattr(value, "name", value)
)
# Those that judge a value by leaving it out: a value that alone changes the score gets a share of it.
LEAVING_OUT = ("integrated_gradients", "occlusion", "shap")


def explainer_of(name: str, info: DataInfo, **options: Any) -> Explainer:
    found: Explainer = build("explainer", {"name": name, **options}, info, seed=3)
    return found


def model_of(info: DataInfo) -> nn.Module:
    with torch_seeded(5, "init"):
        net = simple_cnn(info, channels=8) if info is IMAGES else mlp(info, hidden=(16,), dropout=0.5)
    return preprocess(net, info).eval()


def linear_of(info: DataInfo) -> nn.Module:
    with torch_seeded(5, "init"):
        flat = int(torch.tensor(info.input_shape).prod())
        return nn.Sequential(nn.Flatten(), nn.Linear(flat, 3)).eval()


def batch_of(info: DataInfo, size: int = 4) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(7)
    inputs = torch.rand(size, *info.input_shape, generator=rng)
    if info is VECTORS:
        inputs = torch.tensor(info.mean) + torch.tensor(info.std) * (4 * inputs - 2)
    return inputs, torch.arange(size) % 3


@every_subject
def test_attributions_have_the_shape_of_the_inputs_and_are_finite(name: str, info: DataInfo) -> None:
    inputs, targets = batch_of(info)
    found = explainer_of(name, info)(model_of(info), inputs, targets)
    assert found.shape == inputs.shape
    assert found.dtype == inputs.dtype
    assert found.isfinite().all()
    assert found.flatten(1).any(1).all()
    assert not found.requires_grad


@every_subject
def test_the_same_every_time_and_whatever_was_drawn_before(name: str, info: DataInfo) -> None:
    inputs, targets = batch_of(info)
    model = model_of(info)
    first = explainer_of(name, info)(model, inputs, targets)
    state = torch.random.get_rng_state()
    torch.rand(17)
    drawn = torch.random.get_rng_state()
    again = explainer_of(name, info)(model, inputs, targets)
    assert torch.equal(first, again)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    torch.random.set_rng_state(state)


@every_subject
def test_an_example_is_explained_alike_alone_and_among_others(name: str, info: DataInfo) -> None:
    inputs, targets = batch_of(info)
    explainer, model = explainer_of(name, info), model_of(info)
    together = explainer(model, inputs, targets)
    alone = [explainer(model, inputs[i : i + 1], targets[i : i + 1]) for i in range(len(inputs))]
    torch.testing.assert_close(torch.cat(alone), together, rtol=1e-3, atol=1e-5)


@every_subject
def test_blocks_bound_memory_and_change_nothing(
    name: str, info: DataInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, targets = batch_of(info)
    explainer, model = explainer_of(name, info), model_of(info)
    whole = explainer(model, inputs, targets)
    seen: list[int] = []
    hook = model.register_forward_pre_hook(lambda _module, given: seen.append(len(given[0])))
    monkeypatch.setattr("nnray.explainers.explainer.ROWS", 3)
    monkeypatch.setattr("nnray.explainers.shap.ROWS", 3)
    torch.testing.assert_close(explainer(model, inputs, targets), whole, rtol=1e-3, atol=1e-5)
    hook.remove()
    assert max(seen) <= 3


@every_subject
def test_the_model_and_the_inputs_are_left_as_they_were(name: str, info: DataInfo) -> None:
    inputs, targets = batch_of(info)
    model = model_of(info)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    given = inputs.clone()
    explainer_of(name, info)(model, inputs, targets)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is not None and (p.grad == 1).all() and p.requires_grad for p in model.parameters())
    assert torch.equal(inputs, given)
    assert not inputs.requires_grad
    assert not any(module._forward_hooks for module in model.modules())


@every_subject
def test_it_works_where_no_gradient_is_wanted_and_for_frozen_weights(name: str, info: DataInfo) -> None:
    inputs, targets = batch_of(info)
    model, explainer = model_of(info), explainer_of(name, info)
    wanted = explainer(model, inputs, targets)
    model.requires_grad_(False)
    with torch.no_grad():
        assert torch.equal(explainer(model, inputs, targets), wanted)


@every_subject
def test_a_constant_model_has_nothing_to_explain(name: str, info: DataInfo) -> None:
    inputs, targets = batch_of(info)
    model = model_of(info)
    with torch.no_grad():
        model.net.output.weight.zero_()
    assert not explainer_of(name, info)(model, inputs, targets).any()


@every_subject
def test_each_class_has_its_own_explanation(name: str, info: DataInfo) -> None:
    inputs, targets = batch_of(info)
    explainer, model = explainer_of(name, info), model_of(info)
    assert not torch.equal(explainer(model, inputs, targets), explainer(model, inputs, (targets + 1) % 3))


@every_subject
def test_complete_ones_add_up_to_the_gain_in_score(name: str, info: DataInfo) -> None:
    inputs, targets = batch_of(info)
    explainer, model = explainer_of(name, info), model_of(info)
    found = explainer(model, inputs, targets)
    errors = completeness_errors(explainer, model, inputs=inputs, targets=targets, attributions=found)
    assert (
        (errors is not None) == isinstance(explainer, Complete) == (name in ("integrated_gradients", "shap"))
    )
    assert errors is None or errors.max() < 0.01
    spoilt = completeness_errors(explainer, model, inputs=inputs, targets=targets, attributions=1.1 * found)
    assert spoilt is None or spoilt.min() > 0.05


@pytest.mark.parametrize("name", NAMES)
def test_of_a_linear_model_every_way_finds_the_weights(name: str) -> None:
    if name == "grad_cam":
        return
    inputs, targets = batch_of(VECTORS)
    model = linear_of(VECTORS)
    weights = model[1].weight[targets].detach()
    gains = weights * (inputs - torch.tensor(VECTORS.mean))
    wanted = {"saliency": weights.abs(), "smoothgrad": weights.abs()}.get(name, gains)
    found = explainer_of(name, VECTORS)(model, inputs, targets)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LEAVING_OUT)
def test_the_only_value_that_differs_from_the_baseline_has_all_the_gain(name: str) -> None:
    model, explainer = model_of(VECTORS), explainer_of(name, VECTORS)
    base = torch.tensor([VECTORS.mean])
    inputs = base.clone()
    inputs[0, 2] += 3.0
    target = torch.tensor([1])
    gain = (model(inputs) - model(base))[0, 1].item()
    assert abs(gain) > 0.01
    found = explainer(model, inputs, target)[0]
    assert found[2].item() == pytest.approx(gain, rel=0.01)
    assert not found[[0, 1, 3, 4, 5]].any()


@every_subject
def test_other_weights_give_another_explanation(name: str, info: DataInfo) -> None:
    inputs, targets = batch_of(info)
    explainer, model = explainer_of(name, info), model_of(info)
    found = explainer(model, inputs, targets)
    stages = cascade(explainer, model, inputs=inputs, targets=targets, attributions=found, seed=1)
    assert stages[-1].layers == 2
    assert stages[-1].first.endswith(("conv1", "hidden1", "0"))
    assert not stages[-1].correlation > 0.9
