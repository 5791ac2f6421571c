"""What each attacker sends by itself: formulas, weights, and draws that belong to round and client."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nnray.federated.attacks.attack import Attack
from nnray.federated.attacks.local import gaussian, scale, sign_flip
from nnray.federated.strategy import ClientUpdate, Message, Weighted
from nnray.seeding import torch_rng
from tests.unit.federated.hostile import VECTORS


def sent(attack: Attack, *, client: int = 1, round_: int = 2, size: int = 6) -> tuple[Message, Message]:
    delta = torch.randn(size, generator=torch_rng(0, "delta"))
    update = ClientUpdate(client, 3, 2, 0.1, 0.0, delta, 1.0, 1.0, round_)
    message = Message(
        {"delta": Weighted(delta, 3.0), "variate": Weighted(2 * delta, 1.0)},
        {"reach": Weighted(4.0, 3.0)},
        {"own": delta},
        num_bytes=17,
    )
    assert attack.lie is not None
    return message, attack.lie(message, update)


@pytest.mark.parametrize(
    ("attack", "factor"),
    [
        (sign_flip(VECTORS), -1.0),
        (sign_flip(VECTORS, factor=5.0), -5.0),
        (scale(VECTORS), 10.0),
        (scale(VECTORS, factor=0.5), 0.5),
    ],
)
def test_all_vectors_are_multiplied_and_all_else_is_as_it_was(attack: Attack, factor: float) -> None:
    message, lie = sent(attack)
    for name, part in message.vectors.items():
        assert torch.equal(lie.vectors[name].value, factor * part.value)
        assert lie.vectors[name].weight == part.weight
    assert lie.numbers is message.numbers
    assert lie.kept is message.kept
    assert lie.num_bytes == 17


def test_scaling_by_clients_over_attackers_puts_a_model_in_the_place_of_all() -> None:
    """Source: Bagdasaryan et al. 2020, equation 3: with honest changes of zero the mean is the lie."""
    message, lie = sent(scale(VECTORS, factor=10.0))
    others = torch.zeros(9, 6)
    mean = torch.cat([others, lie.vectors["delta"].value[None]]).mean(0)
    torch.testing.assert_close(mean, message.vectors["delta"].value)


def noise(std: float, **where: int) -> Tensor:
    return (
        sent(gaussian(VECTORS, seed=where.pop("seed", 5), std=std), size=20_000, **where)[1]
        .vectors["delta"]
        .value
    )


@pytest.mark.parametrize("std", [0.01, 1.0, 200.0])
def test_noise_has_its_deviation_and_nothing_of_the_update(std: float) -> None:
    drawn = noise(std)
    error = std / 20_000**0.5
    assert abs(float(drawn.mean())) < 3 * error
    assert abs(float(drawn.std()) - std) < 3 * error / 2**0.5
    message, _ = sent(gaussian(VECTORS, seed=5, std=std), size=20_000)
    correlation = torch.corrcoef(torch.stack([drawn, message.vectors["delta"].value]))[0, 1]
    assert abs(float(correlation)) < 3 / 20_000**0.5


def test_noise_is_of_the_seed_the_round_the_client_and_the_vector() -> None:
    one = noise(1.0)
    assert torch.equal(one, noise(1.0))
    for other in (noise(1.0, seed=6), noise(1.0, client=2), noise(1.0, round_=3)):
        assert not torch.equal(one, other)
    _, lie = sent(gaussian(VECTORS, seed=5))
    assert not torch.equal(lie.vectors["delta"].value, lie.vectors["variate"].value)
