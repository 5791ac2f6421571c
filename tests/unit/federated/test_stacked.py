"""Clients trained side by side come to what they come to one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nnray.data.batches import as_float
from nnray.data.splits import DataInfo, Examples
from nnray.federated import stacked_linear
from nnray.federated.stacked import StackedTrainer
from nnray.federated.stacked_block import Block, make_block
from nnray.federated.strategy import Pull
from nnray.federated.weights import FlatModel
from nnray.models.preprocess import preprocess
from nnray.seeding import numpy_rng, torch_rng, torch_seeded
from nnray.tasks.classification import Classification
from nnray.tasks.task import Task
from nnray.training import optimizers

Make = Callable[[list[Tensor]], Optimizer]
CLASSES = tuple("abcde")
INFO = DataInfo("toy", (1, 6, 6), CLASSES, (0.4,), (0.3,))
SIZES = (4, 4, 3, 4, 4, 3)


class Tokens(nn.Module):
    """Linear layers over positions, one of them called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        h_BTD = self.embed(x.flatten(0, 1).unflatten(0, (len(x), -1)).squeeze(1)).relu_()
        h_BTD = self.mix(torch.relu(self.mix(h_BTD)))
        outputs: Tensor = self.head(h_BTD.mean(1))
        return outputs


def mlp(*widths: int, bias: bool = True, inplace: bool = False) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in zip((36, *widths), (*widths, 5), strict=True):
        layers += [nn.Linear(before, after, bias=bias), nn.ReLU(inplace=inplace)]
    return nn.Sequential(*layers[:-1])


NETS: dict[str, Callable[[], nn.Module]] = {
    "logistic": lambda: mlp(),
    "mlp": lambda: mlp(31),
    "deep": lambda: mlp(64, 48, 7),
    "without bias": lambda: mlp(31, bias=False),
    "in place": lambda: mlp(31, 9, inplace=True),
    "tokens": Tokens,
    "layer norm": lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 9), nn.LayerNorm(9), nn.Linear(9, 5)),
    "cnn": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5)
    ),
    "group norm": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(64, 5)
    ),
}
OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda p: optimizers.sgd(p, lr=0.3),
    "decay": lambda p: optimizers.sgd(p, lr=0.3, weight_decay=0.1),
    "momentum": lambda p: optimizers.sgd(p, lr=0.1, momentum=0.9, dampening=0.2, weight_decay=0.05),
    "nesterov": lambda p: optimizers.sgd(p, lr=0.1, momentum=0.8, nesterov=True),
    "adam": lambda p: optimizers.adam(p, lr=0.01),
    "adamw": lambda p: optimizers.adamw(p, lr=0.01, weight_decay=0.1),
    "rmsprop": lambda p: optimizers.rmsprop(p, lr=0.003),
    "adagrad": lambda p: optimizers.adagrad(p, lr=0.03),
}
TASK = Classification(CLASSES)


def flat(net: Callable[[], nn.Module]) -> FlatModel:
    with torch_seeded(0, "net"):
        return FlatModel(preprocess(net(), INFO))


def data(num_examples: int = 200, *, as_bytes: bool = False) -> Examples:
    rng = torch_rng(0, "data")
    inputs = torch.randint(0, 256, (num_examples, 1, 6, 6), generator=rng, dtype=torch.uint8)
    targets = torch.randint(0, 5, (num_examples,), generator=rng)
    return Examples(inputs if as_bytes else inputs / 255, targets)


def some_block(num_clients: int = 5, sizes: tuple[int, ...] = SIZES) -> Block:
    rng = torch_rng(0, "block")
    order = torch.randint(0, 200, (num_clients, sum(sizes)), generator=rng)
    return Block(tuple(range(3, 3 + num_clients)), order, sizes)


def one_by_one(
    model: FlatModel, block: Block, examples: Examples, *, task: Task, make: Make, pulls: Sequence[Pull]
) -> tuple[Tensor, Tensor]:
    """The slow oracle: deltas and losses."""
    server, deltas, losses = model.params.clone(), [], []
    for place, (order, pull) in enumerate(zip(block.order, pulls, strict=True)):
        start = server if pull.start is None else pull.start
        model.params.copy_(start)
        optimizer, own = make(model.parameters), []
        for step, filled in enumerate(order.split(list(block.sizes))):
            index = filled if block.counts is None else filled[: int(block.counts[place, step])]
            loss = task.loss(model.module(as_float(examples.inputs[index])), examples.targets[index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            for slot, param in zip(model.slots, model.parameters, strict=True):
                assert param.grad is not None
                param.grad += pull.proximal * (param.detach() - slot.of(start))
                if pull.drift is not None:
                    param.grad += slot.of(pull.drift)
            optimizer.step()
            own.append(loss.detach())
        deltas.append(model.params - start)
        losses.append(torch.stack(own))
    model.params.copy_(server)
    return torch.stack(deltas), torch.stack(losses)


def check(
    model: FlatModel,
    make: Make,
    *,
    pulls: Sequence[Pull] = (),
    task: Task = TASK,
    block: Block | None = None,
    examples: Examples | None = None,
) -> None:
    block, examples = block or some_block(), examples or data()
    before = model.params.clone()
    trainer = StackedTrainer(model, examples, task=task, make_optimizer=make)
    updates = trainer.train(block, pulls)
    assert torch.equal(model.params, before)
    plain = tuple(pulls) or (Pull(),) * len(block.clients)
    deltas, losses = one_by_one(model, block, examples, task=task, make=make, pulls=plain)
    torch.testing.assert_close(updates.deltas(), deltas, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(updates.losses, losses, rtol=1e-5, atol=1e-5)
    weights = torch.arange(1.0, len(deltas) + 1)
    torch.testing.assert_close(updates.weighted_sum(weights), weights @ deltas, rtol=1e-5, atol=1e-4)


def random_vectors(model: FlatModel, count: int, *, scale: float) -> list[Tensor]:
    """Such as strategies make them: zero between tensors."""
    vectors = [torch.zeros_like(model.params) for _ in range(count)]
    for number, vector in enumerate(vectors):
        for slot in model.slots:
            drawn = torch.randn(slot.shape, generator=torch_rng(number, "vector", slot.name))
            slot.of(vector).copy_(scale * drawn)
    return vectors


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_block_is_its_clients_one_by_one(net: str, optimizer: str) -> None:
    check(flat(NETS[net]), OPTIMIZERS[optimizer])


UNEVEN = ((4, 4, 3), (4, 4, 1), (4, 4, 4), (2, 2, 2), (4, 4, 4))


def uneven_block() -> Block:
    rng = numpy_rng(0, "uneven")
    orders = [rng.integers(0, 200, sum(sizes)) for sizes in UNEVEN]
    return make_block(range(2, 2 + len(UNEVEN)), orders, sizes=UNEVEN)


TASKS = {
    "plain": TASK,
    "smooth": Classification(CLASSES, label_smoothing=0.2),
    "weighted": Classification(CLASSES, class_weights=(1.0, 2.0, 3.0, 0.5, 7.0), label_smoothing=0.1),
}


@pytest.mark.parametrize("net", ["logistic", "mlp", "deep", "without bias", "in place", "tokens"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("task", TASKS)
def test_batches_that_are_filled_up_come_to_what_they_are_without(
    net: str, optimizer: str, task: str
) -> None:
    check(flat(NETS[net]), OPTIMIZERS[optimizer], block=uneven_block(), task=TASKS[task])


@pytest.mark.parametrize("net", ["mlp", "deep", "cnn", "tokens"])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("kind", ["proximal", "mixed", "drift", "start", "all"])
def test_every_client_is_pulled_as_it_should(net: str, optimizer: str, kind: str) -> None:
    model = flat(NETS[net])
    drifts, starts = random_vectors(model, 5, scale=0.02), random_vectors(model, 5, scale=0.3)
    pulls = {
        "proximal": [Pull(proximal=0.5)] * 5,
        "mixed": [Pull(proximal=0.2 * number) for number in range(5)],
        "drift": [Pull(drift=drift) for drift in drifts[:4]] + [Pull()],
        "start": [Pull(start=start) for start in starts[:4]] + [Pull()],
        "all": [Pull(0.3, drift, start) for drift, start in zip(drifts, starts, strict=True)],
    }[kind]
    check(model, OPTIMIZERS[optimizer], pulls=pulls)


@pytest.mark.parametrize("kept", ["factors", "copies"])
@pytest.mark.parametrize("optimizer", ["sgd", "decay", "momentum", "nesterov"])
@pytest.mark.parametrize("net", ["logistic", "deep", "without bias", "in place", "tokens"])
def test_factors_and_copies_are_the_same(
    net: str, optimizer: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_cheaper(slot: object, *, num_rows: int) -> bool:
        return kept == "factors" and len(slot.shape) == 2  # type: ignore[attr-defined]

    monkeypatch.setattr(stacked_linear, "is_cheaper", is_cheaper)
    check(flat(NETS[net]), OPTIMIZERS[optimizer], pulls=[Pull(proximal=0.4)] * 5)


@pytest.mark.parametrize("task", [
    Classification(CLASSES, label_smoothing=0.2),
    Classification(CLASSES, class_weights=(1.0, 2.0, 0.5, 1.0, 3.0)),
])  # fmt: skip
@pytest.mark.parametrize("net", ["mlp", "cnn"])
def test_the_loss_is_that_of_the_task(net: str, task: Classification) -> None:
    check(flat(NETS[net]), OPTIMIZERS["sgd"], task=task)


@pytest.mark.parametrize("net", ["mlp", "cnn"])
@pytest.mark.parametrize("sizes", [(1,), (10,), (3, 1)])
@pytest.mark.parametrize("num_clients", [1, 7])
def test_blocks_of_any_shape(net: str, sizes: tuple[int, ...], num_clients: int) -> None:
    check(flat(NETS[net]), OPTIMIZERS["momentum"], block=some_block(num_clients, sizes))


def test_bytes_are_scaled() -> None:
    check(flat(NETS["mlp"]), OPTIMIZERS["sgd"], examples=data(as_bytes=True))


@pytest.mark.parametrize("net", ["mlp", "cnn"])
def test_the_same_block_gives_the_same_bits(net: str) -> None:
    model, examples, block = flat(NETS[net]), data(), some_block()
    first = StackedTrainer(model, examples, task=TASK, make_optimizer=OPTIMIZERS["sgd"]).train(block)
    trainer = StackedTrainer(model, examples, task=TASK, make_optimizer=OPTIMIZERS["sgd"])
    trainer.train(some_block(2, (5, 5)))
    again = trainer.train(block)
    assert torch.equal(first.deltas(), again.deltas())
    assert torch.equal(first.losses, again.losses)
    weights = torch.ones(5)
    assert torch.equal(first.weighted_sum(weights), again.weighted_sum(weights))


@pytest.mark.parametrize("net", ["mlp", "deep", "cnn"])
def test_a_client_that_diverges_harms_no_other(net: str) -> None:
    model, block = flat(NETS[net]), some_block()
    examples = data()
    order = torch.arange(100).view(5, 20)
    block = Block((0, 1, 2, 3, 4), order, (5, 5, 5, 5))
    sound = StackedTrainer(model, examples, task=TASK, make_optimizer=OPTIMIZERS["sgd"]).train(block)
    examples.inputs[47] = torch.nan
    updates = StackedTrainer(model, examples, task=TASK, make_optimizer=OPTIMIZERS["sgd"]).train(block)
    assert torch.isfinite(updates.losses).all(1).tolist() == [True, True, False, True, True]
    others = [0, 1, 3, 4]
    torch.testing.assert_close(updates.deltas()[others], sound.deltas()[others])
    weights = torch.tensor([1.0, 2, 0, 3, 1])
    torch.testing.assert_close(updates.weighted_sum(weights), sound.weighted_sum(weights))


def test_the_module_is_as_before_after_an_error() -> None:
    model, examples = flat(NETS["mlp"]), data()
    trainer = StackedTrainer(model, examples, task=TASK, make_optimizer=OPTIMIZERS["sgd"])
    inputs = examples.inputs[:3]
    before = model.module(inputs)
    order = torch.full((2, 4), 999)
    with pytest.raises((IndexError, RuntimeError)):
        trainer.train(Block((0, 1), order, (4,)))
    assert torch.equal(model.module(inputs), before)
