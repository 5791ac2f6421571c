"""What can't be stacked is refused, with every reason; blocks are cut from the cohort alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim import Optimizer

from nnray.data.splits import Examples
from nnray.errors import IncompatibleModel
from nnray.federated.stacked import StackedTrainer
from nnray.federated.stacked_block import Block, cut_blocks, make_block, usual_block_size
from nnray.federated.stacked_checks import is_linear
from nnray.federated.weights import FlatModel
from nnray.models.dropout import Dropout
from nnray.seeding import torch_rng
from nnray.tasks.classification import Classification
from nnray.training import optimizers

TASK = Classification(tuple("abc"))


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.used(x)
        return outputs


class Branching(nn.Module):
    """Looks at its numbers; a norm, so that it is none of linear layers alone."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.norm(x)) if x.sum() > 0 else self.head(x)
        return outputs


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        outputs: Tensor = self.head(self.norm(x))
        return outputs


class Centred(nn.Module):
    """Examples depend on those beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(x - x.mean(0))
        return outputs


def examples() -> Examples:
    rng = torch_rng(0, "examples")
    return Examples(torch.rand(30, 4, generator=rng), torch.randint(0, 3, (30,), generator=rng))


def sgd(params: list[Tensor]) -> Optimizer:
    return optimizers.sgd(params, lr=0.1)


def trainer(net: nn.Module, make: Callable[[list[Tensor]], Optimizer] = sgd) -> StackedTrainer:
    return StackedTrainer(FlatModel(net), examples(), task=TASK, make_optimizer=make)


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.1)), "1 (Dropout): each client draws"),
        (lambda: nn.Sequential(nn.Linear(4, 3), Dropout(0.1)), "1 (Dropout): each client draws"),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.RReLU()), "1 (RReLU): each client draws"),
        (
            lambda: nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)),
            "0 (BatchNorm1d): each client has running",
        ),
        (Unused, "spare.weight: a parameter without a gradient"),
        (Branching, "torch.func can't batch it"),
        (Counting, "calls: a buffer that training changes"),
    ],
)
def test_what_cannot_be_stacked_is_refused(net: Callable[[], nn.Module], reason: str) -> None:
    with pytest.raises(IncompatibleModel) as caught:
        trainer(net())
    assert reason in str(caught.value)
    assert "federated.stacked" in str(caught.value)


def test_every_reason_is_named() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 3))
    with pytest.raises(IncompatibleModel) as caught:
        trainer(net, lambda params: optimizers.muon(params, lr=0.1))
    assert len(caught.value.modules) == 3
    assert "optimizer (Muon" in caught.value.modules[2]


def test_refusing_changes_nothing() -> None:
    net = Counting()
    with pytest.raises(IncompatibleModel):
        trainer(net)
    assert net.calls == 0


@pytest.mark.parametrize(
    "net", [lambda: nn.Sequential(nn.Dropout(0.0), nn.Linear(4, 3)), lambda: nn.Linear(4, 3)]
)
def test_what_can_be_stacked_is_taken(net: Callable[[], nn.Module]) -> None:
    updates = trainer(net()).train(Block((1, 2), torch.arange(8).view(2, 4), (4,)))
    assert torch.isfinite(updates.losses).all()
    assert updates.losses.shape == (2, 1)


def test_examples_that_depend_on_others_are_kept_by_client() -> None:
    model = FlatModel(Centred())
    assert not is_linear(model, examples())
    assert is_linear(FlatModel(nn.Linear(4, 3)), examples())


def test_tied_layers_take_the_general_way() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    net[2].weight = net[0].weight
    assert not is_linear(FlatModel(net), examples())


def test_layers_with_hooks_take_the_general_way() -> None:
    net = nn.Linear(4, 3)
    net.register_forward_hook(lambda _, __, outputs: 2 * outputs)
    assert not is_linear(FlatModel(net), examples())


SIZES = st.dictionaries(
    st.integers(0, 10**6), st.lists(st.integers(1, 3), min_size=1, max_size=2).map(tuple), max_size=30
)


@given(sizes=SIZES, block_size=st.integers(1, 8))
def test_blocks_cover_the_cohort_and_their_clients_are_alike(
    sizes: dict[int, tuple[int, ...]], block_size: int
) -> None:
    blocks = cut_blocks(sizes, block_size=block_size)
    assert sorted(client for block in blocks for client in block) == sorted(sizes)
    for block in blocks:
        assert 0 < len(block) <= block_size
        assert len({sizes[client] for client in block}) == 1
        assert list(block) == sorted(block)
    kinds = set(sizes.values())
    assert len(blocks) == sum(-(-list(sizes.values()).count(kind) // block_size) for kind in kinds)


@given(sizes=SIZES, block_size=st.integers(1, 8))
def test_blocks_that_are_filled_up_take_clients_of_equally_many_steps(
    sizes: dict[int, tuple[int, ...]], block_size: int
) -> None:
    """And at most half of what a client would have there is filled up."""
    blocks = cut_blocks(sizes, block_size=block_size, fills=True)
    assert sorted(client for block in blocks for client in block) == sorted(sizes)
    for block in blocks:
        assert 0 < len(block) <= block_size
        assert len({len(sizes[client]) for client in block}) == 1
        rows = [sum(sizes[client]) for client in block]
        assert max(rows) < 2 * min(rows)


def test_a_block_is_filled_up_with_the_first_example_of_each_client() -> None:
    orders = [np.array([5, 6, 7, 8, 9]), np.array([1, 2, 3])]
    block = make_block([0, 4], orders, sizes=[(3, 2), (2, 1)])
    assert (block.sizes, block.order.tolist()) == ((3, 2), [[5, 6, 7, 8, 9], [1, 2, 1, 3, 1]])
    whole = [block.in_batch(step) for step in range(2)]
    assert [part.tolist() for part in whole if part is not None] == [
        [[True] * 3, [True, True, False]],
        [[True, True], [True, False]],
    ]
    same = make_block([0, 4], [order[:3] for order in orders], sizes=[(2, 1)] * 2)
    assert (same.counts, same.in_batch(0)) == (None, None)
    assert same.order.tolist() == [[5, 6, 7], [1, 2, 3]]


@given(sizes=SIZES, rng=st.randoms())
def test_the_order_of_the_cohort_does_not_matter(sizes: dict[int, tuple[int, ...]], rng: object) -> None:
    shuffled = list(sizes.items())
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert cut_blocks(dict(shuffled), block_size=4) == cut_blocks(sizes, block_size=4)


def test_batches_come_step_by_step_client_by_client() -> None:
    block = Block((2, 7), torch.tensor([[4, 5, 6], [1, 2, 3]]), (2, 1))
    inputs, targets = next(iter(block.batches(examples())))
    assert torch.equal(inputs.flatten(0, 1), examples().inputs[[4, 5, 1, 2]])
    assert torch.equal(targets.flatten(), examples().targets[[4, 5, 1, 2]])


@pytest.mark.parametrize(
    ("cohort", "num_params", "size"),
    [(50, 650, 128), (100, 203_530, 25), (10, 203_530, 8), (1000, 10**6, 32)],
)
def test_the_usual_block_size(cohort: int, num_params: int, size: int) -> None:
    assert usual_block_size(cohort, num_params=num_params) == size
