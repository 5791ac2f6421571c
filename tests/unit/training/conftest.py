"""A small problem that training can solve in a moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.seeding import torch_rng, torch_seeded
from nnray.tasks.classification import classification
from nnray.tasks.task import Task
from nnray.training.early_stopping import BestEpoch
from nnray.training.optimizers import adam
from nnray.training.schedules import cosine
from nnray.training.state import TrainState

INFO = DataInfo("blobs", (4,), ("a", "b", "c"), (0.0,) * 4, (1.0,) * 4)


@dataclass(frozen=True)
class Blobs:
    """Three clouds of points; one batch in six is short."""

    num_examples: int = 88
    batch_size: int = 16
    seed: int = 0

    @property
    def num_batches(self) -> int:
        return -(-self.num_examples // self.batch_size)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        targets = torch.arange(self.num_examples) % 3
        inputs = torch.randn(self.num_examples, 4, generator=torch_rng(self.seed, "points"))
        inputs[torch.arange(self.num_examples), targets] += 3
        order = torch.randperm(self.num_examples, generator=torch_rng(self.seed, "order", number))
        for index in order.split(self.batch_size):
            yield inputs[index], targets[index]


@pytest.fixture
def task() -> Task:
    return classification(INFO)


@pytest.fixture
def make_state() -> Callable[..., TrainState]:
    def make(
        *, dropout: float = 0.5, epochs: int = 6, lr: float = 0.02, metric: str = "val_loss"
    ) -> TrainState:
        with torch_seeded(0, "init"):
            model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 3))
        optimizer = adam(list(model.parameters()), lr=lr)
        schedule = cosine(optimizer, num_steps=epochs * 6, steps_per_epoch=6)
        return TrainState(model, optimizer, schedule, best=BestEpoch(metric))

    return make
