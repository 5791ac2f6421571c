"""Personal strategies played by the engine on unlike clients, with full batches: no draw has a say."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nnray.data.splits import Examples
from nnray.federated.client import ClientTrainer
from nnray.federated.local import LocalTraining
from nnray.federated.outcome import Outcome, RoundStart
from nnray.federated.rounds import RoundState, rounds
from nnray.federated.sampling import Cohort
from nnray.federated.strategy import Strategy, Vectors
from nnray.federated.weights import FlatModel, Weights

LR, STEPS = 0.3, 3
SIZES = (4, 9, 6)


def data() -> tuple[Examples, list[list[int]]]:
    """Three clients, whose inputs and labels are unlike."""
    rng, parts, inputs, targets = np.random.default_rng(3), [], [], []
    for number, size in enumerate(SIZES):
        x = rng.normal(size=(size, 4)) * (1 + number) + rng.normal(size=4)
        parts.append(list(range(len(targets), len(targets) + size)))
        inputs += x.tolist()
        targets += (x @ rng.normal(size=(4, 3))).argmax(1).tolist()
    return Examples(torch.tensor(inputs, dtype=torch.float32), torch.tensor(targets)), parts


def model(*, norm: bool = False) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        middle: list[nn.Module] = [nn.BatchNorm1d(5)] if norm else []
        return nn.Sequential(nn.Linear(4, 5), *middle, nn.Tanh(), nn.Linear(5, 3))


def outputs_and_loss(module: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    outputs = module(x)  # once: batch norm counts
    return outputs, nn.functional.cross_entropy(outputs, y)


def loss_of(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return outputs_and_loss(module, x, y)[1]


class Population:
    """Who has which examples."""

    def __len__(self) -> int:
        return len(SIZES)

    def of(self, client: int) -> Any:
        return np.array(data()[1][client], dtype=np.int64)


class Played:
    """A strategy in the engine, round after round of full batches; everybody takes part."""

    def __init__(self, strategy: Strategy, *, norm: bool = False, clients: Sequence[int] = (0, 1, 2)) -> None:
        self.strategy, self.clients = strategy, clients
        self.trainer = ClientTrainer(
            model(norm=norm),
            strategy,
            examples=data()[0],
            population=Population(),
            local=LocalTraining(
                loss_fn=outputs_and_loss,
                make_optimizer=lambda params: torch.optim.SGD(params, lr=LR),
                epochs=STEPS,
            ),
        )
        weights = self.trainer.flat.weights()
        self.state = RoundState(0, weights, strategy.server_state(weights.params))
        self.kept: dict[int, Vectors] = {}

    def play(self, num_rounds: int) -> Played:
        def train(start: RoundStart, clients: Sequence[int]) -> Outcome:
            return self.trainer.run(start, clients, states=self.kept)

        cohort = Cohort(np.array(self.clients), np.array([], dtype=np.int64))
        for report in rounds(
            self.state,
            self.strategy,
            num_rounds=self.state.round + num_rounds,
            draw=lambda number: cohort,
            train_clients=train,
            population=len(SIZES),
        ):
            self.state = report.state
            self.kept |= report.kept
        return self

    def module(self, params: Tensor | None = None) -> nn.Module:
        """The model with the server's weights, or others."""
        flat = FlatModel(model(norm=any(isinstance(m, nn.BatchNorm1d) for m in self.trainer.flat.module)))
        weights = self.state.weights
        flat.load(Weights(weights.params if params is None else params, weights.floats, weights.ints))
        return flat.module


def descend(
    module: nn.Module,
    client: int,
    *,
    steps: int = STEPS,
    only: Callable[[str], bool] = lambda name: True,
    lam: float = 0.0,
    anchor: nn.Module | None = None,
) -> nn.Module:
    """Gradient descent by hand, in float64, on a copy; on some parameters, with a pull to an anchor."""
    module, examples = copy.deepcopy(module).double(), data()[0]
    index = data()[1][client]
    x, y = examples.inputs[index].double(), examples.targets[index]
    for _ in range(steps):
        names = [name for name, _ in module.named_parameters()]
        grads = torch.autograd.grad(loss_of(module, x, y), list(module.parameters()))
        pulled = dict((anchor or module).named_parameters())
        with torch.no_grad():
            for name, grad in zip(names, grads, strict=True):
                param = module.get_parameter(name)
                if only(name):
                    param -= LR * (grad + lam * (param - pulled[name].double()))
    return module


def mean(modules: Sequence[nn.Module], weights: Sequence[float]) -> nn.Module:
    """The weighted mean of the parameters."""
    found = copy.deepcopy(modules[0])
    with torch.no_grad():
        for name, param in found.named_parameters():
            parts = [w * m.get_parameter(name) for m, w in zip(modules, weights, strict=True)]
            param.copy_(torch.stack(parts).sum(0) / sum(weights))
    return found


def same(one: nn.Module, other: nn.Module, *, within: float = 2e-6) -> None:
    for name, param in one.named_parameters():
        gap = (param.double() - other.get_parameter(name).double()).abs().max().item()
        assert gap < within, f"{name} is {gap:g} elsewhere"
