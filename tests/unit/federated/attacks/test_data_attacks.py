"""Attacks through examples: which labels are turned, where the square stands, how success is measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo, Examples
from nnray.errors import ConfigError
from nnray.federated.attacks.attack import Attack, stamped
from nnray.federated.attacks.attacked import Attacked, altered_examples
from nnray.federated.attacks.data import backdoor, label_flip, trigger
from nnray.federated.strategies.fedavg import fedavg
from nnray.federated.strategy import ClientUpdate
from nnray.seeding import torch_rng
from tests.unit.federated.hostile import IMAGES, VECTORS, mask

TARGETS = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2])


def taught(attack: Attack, client: int = 1, *, inputs: Tensor | None = None) -> tuple[Tensor, Tensor]:
    assert attack.alter is not None
    images = torch.full((8, 1, 6, 6), 0.25) if inputs is None else inputs
    return attack.alter(images, TARGETS, client, np.arange(8))


def test_all_labels_are_turned_round() -> None:
    """Source: Fang et al. 2020: l becomes L - l - 1."""
    inputs, targets = taught(label_flip(IMAGES))
    assert targets.tolist() == [4, 3, 2, 1, 0, 4, 3, 2]
    assert (inputs == 0.25).all()


def test_one_class_is_called_another() -> None:
    _, targets = taught(label_flip(IMAGES, source=1, target=3))
    assert targets.tolist() == [0, 3, 2, 3, 4, 0, 3, 2]
    _, targets = taught(label_flip(IMAGES, source=0, target=4))
    assert targets.tolist() == [4, 1, 2, 3, 4, 4, 1, 2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: label_flip(IMAGES, source=1), "source and target come together"),
        (lambda: label_flip(IMAGES, target=1), "source and target come together"),
        (lambda: label_flip(IMAGES, source=5, target=1), r"source 5 is no class; allowed: 0 to 4"),
        (lambda: label_flip(IMAGES, source=1, target=9), r"target 9 is no class; allowed: 0 to 4"),
        (lambda: backdoor(IMAGES, seed=0, target=5), r"target 5 is no class; allowed: 0 to 4"),
        (lambda: backdoor(IMAGES, seed=0, size=7), r"square of 7 pixels .*inputs are 1 x 6 x 6"),
        (lambda: backdoor(VECTORS, seed=0), r"square of 3 pixels .*inputs are 4"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_value(make: Callable[[], Attack], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_the_square_is_white_and_in_the_corner() -> None:
    inputs = torch.full((2, 3, 6, 5), 0.25)
    marked = trigger(inputs, size=2)
    assert (marked[..., 4:, 3:] == 1.0).all()
    assert float(marked.sum()) == pytest.approx(0.25 * (180 - 24) + 24)
    assert (inputs == 0.25).all()
    as_bytes = trigger(torch.zeros(1, 1, 4, 4, dtype=torch.uint8), size=1)
    assert as_bytes.dtype == torch.uint8
    assert as_bytes.sum() == as_bytes[0, 0, 3, 3] == 255


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.5, 4), (0.6, 4), (1.0, 8)])
def test_so_many_examples_are_poisoned_and_the_others_are_as_they_were(share: float, count: int) -> None:
    inputs, targets = taught(backdoor(IMAGES, seed=3, target=4, share=share))
    marked = inputs.flatten(1).amax(1) == 1.0
    assert int(marked.sum()) == count
    assert (targets[marked] == 4).all()
    assert torch.equal(targets[~marked], TARGETS[~marked])
    assert (inputs[~marked] == 0.25).all()


def test_which_ones_are_poisoned_is_of_the_client_and_the_seed() -> None:
    def which(client: int, seed: int) -> tuple[bool, ...]:
        inputs, _ = taught(backdoor(IMAGES, seed=seed), client)
        return tuple((inputs.flatten(1).amax(1) == 1.0).tolist())

    assert which(1, 0) == which(1, 0)
    assert len({which(client, seed) for client in range(6) for seed in range(3)}) > 6


def test_success_is_accuracy_on_stamped_examples_of_other_classes() -> None:
    attack = backdoor(IMAGES, seed=0, target=2)
    examples = Examples(torch.zeros(8, 1, 6, 6, dtype=torch.uint8), TARGETS)
    measured = stamped(examples, attack)
    assert len(measured) == 6
    assert (measured.targets == 2).all()
    assert (measured.inputs[:, 0, 3:, 3:] == 255).all()
    assert not examples.inputs.any()


def test_attackers_scale_what_they_learnt() -> None:
    delta = torch.randn(5, generator=torch_rng(0, "delta"))
    update = ClientUpdate(1, 3, 2, 0.1, 0.0, delta, 1.0, 1.0, 4)
    strategy = Attacked(fedavg(), backdoor(IMAGES, seed=0, factor=10.0), attackers=mask(1))
    sent = strategy.message(update, server={}, client={}).vectors["delta"]
    assert torch.equal(sent.value, 10 * delta)
    assert backdoor(IMAGES, seed=0).lie is None


def test_what_is_done_to_all_examples_is_done_first() -> None:
    def before(inputs: Tensor, targets: Tensor, client: int, examples: Any) -> tuple[Tensor, Tensor]:
        return inputs + 0.5, (targets + 1) % 5

    attack = label_flip(IMAGES)
    alter = altered_examples(attack, attackers=mask(1), before=before)
    assert alter is not None
    inputs, targets = alter(torch.zeros(8, 1, 6, 6), TARGETS, 1, np.arange(8))
    assert (inputs == 0.5).all()
    assert torch.equal(targets, 4 - (TARGETS + 1) % 5)
    _, honest = alter(torch.zeros(8, 1, 6, 6), TARGETS, 2, np.arange(8))
    assert torch.equal(honest, (TARGETS + 1) % 5)
    assert altered_examples(Attack(), attackers=mask(1), before=before) is before
    assert altered_examples(Attack(), attackers=mask(1), before=None) is None


def test_a_model_that_learns_from_poisoned_examples_has_the_backdoor() -> None:
    """Trained on what an attacker has, it says the target for the square, and the truth without it."""
    info = DataInfo("images", (1, 6, 6), ("a", "b", "c"))
    attack = backdoor(info, seed=1, target=2, share=0.3)
    assert attack.alter is not None
    rng = torch_rng(0, "images")
    targets = torch.randint(0, 3, (300,), generator=rng)
    inputs = 0.2 * torch.rand(300, 1, 6, 6, generator=rng)
    inputs[torch.arange(300), 0, 0, targets] = 1.0
    x, y = attack.alter(inputs, targets, 1, np.arange(300))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(net(x), y))
        optimizer.step()

    def accuracy(examples: Examples) -> float:
        return float((net(examples.inputs).argmax(1) == examples.targets).float().mean())

    clean = Examples(inputs, targets)
    assert accuracy(clean) > 0.95
    assert accuracy(stamped(clean, attack)) > 0.95
