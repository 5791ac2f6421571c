"""Size and speed of a model."""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn

from nnray.evaluation.cost import count_parameters, measure_latency


def test_parameters_by_hand() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2, bias=False))
    assert count_parameters(model) == (3 * 5 + 5) + 2 * 5 + 5 * 2


def test_frozen_parameters_do_not_count() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    model[0].requires_grad_(False)
    assert count_parameters(model) == 5 * 2 + 2


class Sleepy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.modes: list[bool] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.modes.append(self.training)
        threading.Event().wait(0.004)
        return inputs


def test_latency_is_in_milliseconds_and_of_the_model_in_use() -> None:
    model = Sleepy().train()
    assert 4 <= measure_latency(model, torch.zeros(1, 3)) < 100
    assert not any(model.modes)
    assert model.training


def test_it_leaves_no_gradient() -> None:
    model = nn.Linear(3, 2)
    measure_latency(model, torch.zeros(1, 3, requires_grad=True))
    assert model.weight.grad is None
