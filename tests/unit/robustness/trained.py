"""Small networks trained on the digits that ship with scikit-learn, to attack."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from nnray.data.digits import digits
from nnray.data.splits import DataInfo, Examples
from nnray.seeding import torch_seeded

INFO = DataInfo("digits", (1, 8, 8), tuple("0123456789"))
VECTORS = DataInfo("made up", (6,), ("a", "b", "c"), mean=(0.0,) * 6, std=(1.0, 2.0, 0.5, 10.0, 1.0, 3.0))


class Scaled(nn.Module):
    """A network that divides by the deviations first; a missing value is 0 to it, as in our models."""

    def __init__(self, net: nn.Module, std: tuple[float, ...]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("std", torch.tensor(std))

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.net((inputs / self.std).nan_to_num(0.0))
        return outputs


@cache
def of_images() -> nn.Module:
    """A convolution, batch norm and dropout, at about 97 % after a few hundred steps."""
    with torch_seeded(0, "images"):
        net = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Dropout(0.2), nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 10),
        )  # fmt: skip
        return _trained(net, _digits())


@cache
def of_vectors() -> nn.Module:
    """Two layers on six features of very different spread."""
    with torch_seeded(0, "vectors"):
        net = Scaled(nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3)), VECTORS.std)
        return _trained(net, vectors())


def images(count: int = 64) -> Examples:
    """Test images."""
    made = digits().test
    assert made is not None
    split = made()
    assert isinstance(split, Examples)
    return split.take(torch.arange(count))


def vectors(count: int = 400) -> Examples:
    """Three clouds, told apart by features in units of their deviation."""
    rng = torch.Generator().manual_seed(0)
    targets = torch.randint(3, (count,), generator=rng)
    centres = torch.randn(3, 6, generator=rng) * 1.5
    return Examples(
        (centres[targets] + torch.randn(count, 6, generator=rng)) * torch.tensor(VECTORS.std), targets
    )


def _digits() -> Examples:
    train = digits().train
    assert isinstance(train, Examples)
    return train


def _trained(net: nn.Module, examples: Examples) -> nn.Module:
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(250):
        batch = examples.take(torch.randint(len(examples), (64,)))
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(batch.inputs), batch.targets).backward()
        optimizer.step()
    optimizer.zero_grad()
    return net.eval()
