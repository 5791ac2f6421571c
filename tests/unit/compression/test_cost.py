"""What is counted, by hand."""

from __future__ import annotations

import torch
from torch import nn

from nnray.compression.cost import BATCH_SIZES, flops_of, latencies, size_of
from nnray.compression.int8 import int8
from nnray.compression.magnitude import magnitude
from nnray.training.weights import weights_safetensors

X = torch.rand(1, 1, 6, 6)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(64, 3))


def test_operations_are_two_for_each_weight_and_place() -> None:
    assert flops_of(network(), X) == 2 * (16 * 4 * 9 + 64 * 3)


def test_integers_are_as_many_operations_and_a_quarter_of_the_bytes() -> None:
    big = nn.Sequential(nn.Flatten(), nn.Linear(36, 512), nn.ReLU(), nn.Linear(512, 3))
    before, after = size_of(big, X), size_of(int8()(big, X).module, X)
    assert (after.flops, after.parameters) == (before.flops, before.parameters)
    assert 0.25 < after.bytes / before.bytes < 0.33  # biases and scales stay floats
    assert before.bytes == len(weights_safetensors(big))


def test_zeros_are_counted_and_save_bytes_where_the_file_is_packed() -> None:
    torch.manual_seed(0)
    big = nn.Sequential(nn.Flatten(), nn.Linear(36, 512), nn.ReLU(), nn.Linear(512, 3))
    before, after = size_of(big, X), size_of(magnitude(sparsity=0.9)(big, X).module, X)
    weights = 36 * 512 + 512 * 3
    assert before.nonzero - after.nonzero == int(0.9 * weights)
    assert (after.parameters, after.bytes, after.flops) == (before.parameters, before.bytes, before.flops)
    assert after.compressed_bytes < 0.3 * before.compressed_bytes


def test_counting_leaves_the_network_in_its_mode() -> None:
    model = network().train()
    size_of(model, X)
    latencies({"one": model}, X, times=1)
    assert model.training


def test_networks_take_turns_and_each_batch_is_timed() -> None:
    calls: list[tuple[str, int]] = []

    class Noted(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append((self.name, len(x)))
            return x

    found = latencies({"one": Noted("one"), "other": Noted("other")}, X, times=2)
    assert [name for name, _ in calls] == ["one", "other"] * (len(calls) // 2)
    assert {size for _, size in calls} == set(BATCH_SIZES) == found["one"].keys()
    assert all(value >= 0 for by_size in found.values() for value in by_size.values())
