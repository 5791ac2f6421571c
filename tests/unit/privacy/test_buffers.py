"""Which models carry clients' data past the noise."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnray.errors import IncompatibleModel
from nnray.privacy.buffers import moving_buffers, require_still_buffers

INPUTS = torch.arange(24.0).reshape(4, 6)


class Scaled(nn.Module):
    """Has a buffer that stays as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.ones(6))
        self.dense = nn.Linear(6, 4)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.dense(inputs - self.mean)


def test_statistics_that_move_are_refused_with_all_modules_named() -> None:
    model = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 4), nn.BatchNorm1d(4, affine=False))
    with pytest.raises(IncompatibleModel) as caught:
        require_still_buffers(model, INPUTS)
    assert [module.split(":")[0] for module in caught.value.modules] == ["0 (BatchNorm1d)", "2 (BatchNorm1d)"]
    assert "group norm" in caught.value.advice


@pytest.mark.parametrize("model", [Scaled(), nn.Linear(6, 2), nn.BatchNorm1d(6, track_running_stats=False)])
def test_buffers_that_stay_are_allowed(model: nn.Module) -> None:
    assert moving_buffers(model, INPUTS) == []
    require_still_buffers(model, INPUTS)


def test_the_model_and_torchs_generator_are_left_as_they_are() -> None:
    model = nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(0.5)).eval()
    before, rng = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    assert len(moving_buffers(model, INPUTS)) == 3
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training
    assert torch.equal(torch.get_rng_state(), rng)
