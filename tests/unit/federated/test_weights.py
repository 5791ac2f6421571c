"""A model as flat vectors: the round trip, the three kinds of state, and where tensors stand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from nnray.errors import IncompatibleModel
from nnray.federated.weights import FlatModel, Weights
from nnray.training.weights import weights_sha256
from tests.unit.federated.small import model


def conv() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 2))


def test_weights_come_back_as_they_were() -> None:
    module = conv()
    before = weights_sha256(module)
    flat = FlatModel(module)
    assert weights_sha256(module) == before
    saved = flat.weights()
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            tensor.add_(3)
    assert weights_sha256(module) != before
    flat.load(saved)
    assert weights_sha256(module) == before


def test_parameters_are_views_of_one_vector() -> None:
    module = model()
    flat = FlatModel(module)
    flat.params.fill_(2)
    assert all(bool((p == 2).all()) for p in module.parameters())
    module(torch.ones(1, 4)).sum().backward()
    with torch.no_grad():
        next(module.parameters()).add_(1)
    assert flat.params[0] == 3


def test_every_tensor_begins_at_64_bytes_and_gaps_are_zero() -> None:
    flat = FlatModel(conv())
    assert [slot.start % 16 for slot in flat.slots] == [0] * len(flat.slots)
    assert len(flat.params) % 16 == 0
    used = torch.zeros_like(flat.params, dtype=torch.bool)
    for slot in flat.slots:
        slot.of(used).fill_(True)
    assert int(used.sum()) == sum(p.numel() for p in conv().parameters())
    assert float(flat.params[~used].abs().sum()) == 0


def test_parameters_float_buffers_and_counts_are_three_things() -> None:
    weights = FlatModel(conv()).weights()
    assert (weights.floats.dtype, weights.ints.dtype) == (torch.float32, torch.int64)
    assert int(weights.ints.sum()) == 0
    assert float(weights.floats.sum()) == 3  # the running variances; the means are 0
    plain = FlatModel(model()).weights()
    assert (len(plain.floats), len(plain.ints)) == (0, 0)


def test_tied_weights_stand_once() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = module[0].weight
    flat = FlatModel(module)
    assert len(flat.slots) == 3
    flat.params.zero_()
    assert module[0].weight is module[1].weight
    assert float(module[1].weight.detach().abs().sum()) == 0


def test_buffers_that_are_not_saved_stay_out() -> None:
    module = model()
    module.register_buffer("scratch", torch.ones(7), persistent=False)
    assert len(FlatModel(module).weights().floats) == 0


def test_a_copy_is_a_copy() -> None:
    flat = FlatModel(model())
    saved = flat.weights()
    flat.params.add_(1)
    assert not torch.equal(saved.params, flat.params)
    other = saved.with_params(torch.zeros_like(saved.params))
    assert isinstance(other, Weights)
    assert other.floats is saved.floats


def test_all_parameters_of_another_type_are_named() -> None:
    module = nn.Sequential(nn.Linear(2, 2).double(), nn.Linear(2, 2), nn.Linear(2, 2).half())
    with pytest.raises(IncompatibleModel) as caught:
        FlatModel(module)
    text = str(caught.value)
    assert all(name in text for name in ("0.weight (float64)", "0.bias (float64)", "2.weight (float16)"))
    assert "1.weight" not in text


def test_a_model_without_parameters_is_flat_too() -> None:
    assert FlatModel(nn.Flatten()).params.shape == (0,)


def test_kernels_laid_out_by_pixel_stay_so_and_compute_the_same() -> None:
    module = conv()
    plain = FlatModel(copy.deepcopy(module))
    laid_out = FlatModel(module.to(memory_format=torch.channels_last))
    kernels = [p for p in laid_out.module.parameters() if p.ndim == 4]
    assert kernels
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    assert weights_sha256(laid_out.module) == weights_sha256(plain.module)
    saved = laid_out.weights()
    laid_out.params.fill_(7.0)
    assert all(bool((p == 7).all()) for p in laid_out.module.parameters())
    laid_out.load(saved)
    assert weights_sha256(laid_out.module) == weights_sha256(plain.module)
    assert {s.name: s.by_pixel for s in plain.slots} == {s.name: False for s in plain.slots}
    assert {s.name for s in laid_out.slots if s.by_pixel} == {
        name for name, p in laid_out.module.named_parameters() if p.ndim == 4
    }
