"""Small networks of every kind of layer, and what to train them on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.models.cnn import cnn, lenet
from nnray.models.layers import stack
from nnray.models.mlp import mlp
from nnray.models.preprocess import preprocess
from nnray.tasks.classification import Classification, classification

INFO = DataInfo("made", (1, 12, 12), ("a", "b", "c"), mean=(0.4,), std=(0.3,))


class Scaled(nn.Module):
    """A layer of its own, which Opacus has no formula for: torch.func's turn."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 2.0, 16))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x * self.scale)


class Twice(nn.Module):
    """The same linear layer used twice: its two parts add up."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(144, 144), nn.Linear(144, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.body(x.flatten(1)))
        return self.head(torch.tanh(self.body(hidden)))


class Tied(nn.Module):
    """Two layers that share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(144, 144), nn.Linear(144, 144), nn.Linear(144, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x.flatten(1))))))


class Rows(nn.Module):
    """Linear layers over the rows of an image: each example has many vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.norm, self.head = nn.Linear(12, 5), nn.LayerNorm(5), nn.Linear(60, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.rows(x[:, 0])).flatten(1))


class PartFrozen(nn.Module):
    """A layer that doesn't learn, one without part in the output, and one that overwrites its input."""

    def __init__(self) -> None:
        super().__init__()
        self.fixed, self.head, self.unused = nn.Linear(144, 8), nn.Linear(8, 3), nn.Linear(2, 2)
        self.act = nn.ReLU(inplace=True)
        self.fixed.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.fixed(x.flatten(1))))


def _scaled() -> nn.Module:
    return stack(
        ("flat", nn.Flatten()), ("in", nn.Linear(144, 16)), ("own", Scaled()), ("out", nn.Linear(16, 3))
    )


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "mlp": lambda: mlp(INFO, hidden=[16, 8], norm="layer"),
    "cnn": lambda: cnn(INFO, channels=(4, 8), hidden=8, dropout=0.0, dropout_head=0.0, norm="group"),
    "lenet": lambda: lenet(INFO, activation="tanh"),
    "scaled": _scaled,
    "twice": Twice,
    "tied": Tied,
    "rows": Rows,
    "part_frozen": PartFrozen,
}


def make(name: str) -> nn.Module:
    """A network with its preprocessing, always the same."""
    torch.manual_seed(3)
    return preprocess(NETWORKS[name](), INFO).train()


def task() -> Classification:
    """Cross-entropy over three classes."""
    return classification(INFO, label_smoothing=0.1)


def batch(size: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs and targets."""
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(size, *INFO.input_shape, generator=rng), torch.randint(3, (size,), generator=rng)


def one_by_one(model: nn.Module, inputs: Tensor, targets: Tensor) -> list[list[Tensor]]:
    """The oracle: for each example the gradient of its own loss, by a pass of its own."""
    params = [param for param in model.parameters() if param.requires_grad]
    found = []
    for x, y in zip(inputs.split(1), targets.split(1), strict=True):
        loss = task().loss(model(x), y)
        grads = torch.autograd.grad(loss, params, allow_unused=True)
        found.append([torch.zeros_like(p) if g is None else g for p, g in zip(params, grads, strict=True)])
    return found
