"""What attackers agree on: the papers' formulas over the honest messages of a round."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from torch import Tensor

from nnray.federated.aggregation.aggregator import Updates
from nnray.federated.aggregation.coordinates import median
from nnray.federated.aggregation.krum import krum
from nnray.federated.attacks.attack import Attack
from nnray.federated.attacks.colluding import alie, inner_product, most_deviations
from nnray.seeding import torch_rng
from tests.unit.federated.hostile import VECTORS


def draw(count: int = 14, size: int = 9) -> Tensor:
    return 0.3 + torch.randn(count, size, generator=torch_rng(0, "honest"))


def agreed(attack: Attack, honest: Tensor, attackers: int) -> np.ndarray:
    assert attack.collude is not None
    # Weights are each client's own word: attackers don't go by them.
    updates = Updates(vectors=tuple(honest), weights=[1.0 + place for place in range(len(honest))])
    found: np.ndarray = attack.collude(updates, attackers).numpy()
    return found


def test_a_little_is_the_mean_less_some_deviations() -> None:
    """Source: Baruch et al. 2019, algorithm 3."""
    honest = draw()
    x = honest.double().numpy()
    expected = x.mean(0) - 1.5 * x.std(0)
    np.testing.assert_allclose(agreed(alie(VECTORS, z=1.5), honest, 6), expected, rtol=1e-12)


@pytest.mark.parametrize(("n", "m", "z"), [(50, 24, 1.43), (50, 12, 0.32), (20, 6, 0.18), (9, 4, 0.84)])
def test_the_most_deviations_are_those_of_the_paper(n: int, m: int, z: float) -> None:
    """Source: Baruch et al. 2019, equation 3: phi(z) < (n - m - s) / (n - m), s = floor(n / 2 + 1) - m."""
    s = math.floor(n / 2 + 1) - m
    expected = NormalDist().inv_cdf((n - m - s) / (n - m))
    assert most_deviations(n, m) == pytest.approx(expected)
    assert expected == pytest.approx(z, abs=0.6)


def test_left_out_they_are_reckoned_from_who_is_in_the_round() -> None:
    honest = draw()
    x = honest.double().numpy()
    expected = x.mean(0) - most_deviations(20, 6) * x.std(0)
    np.testing.assert_allclose(agreed(alie(VECTORS), honest, 6), expected, rtol=1e-12)
    assert not np.allclose(agreed(alie(VECTORS), honest, 12), expected)


@pytest.mark.parametrize(("n", "m"), [(2, 1), (4, 1), (3, 2), (10, 8), (100, 99)])
def test_the_most_deviations_are_finite_and_never_negative(n: int, m: int) -> None:
    assert 0 <= most_deviations(n, m) < 10


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 20.0])
def test_the_inner_product_with_the_honest_mean_is_negative(epsilon: float) -> None:
    """Source: Xie et al. 2019, section 4: - epsilon times the mean of the honest."""
    honest = draw()
    mean = honest.double().numpy().mean(0)
    lie = agreed(inner_product(VECTORS, epsilon=epsilon), honest, 6)
    np.testing.assert_allclose(lie, -epsilon * mean, rtol=1e-12)
    assert float(lie @ mean) < 0


def test_lies_of_a_little_get_through_rules_that_see_no_outlier() -> None:
    """What the attack is for: Krum takes it for the best update, and it pulls the median to its side."""
    honest = draw(14, 400)
    lie = torch.from_numpy(agreed(alie(VECTORS, z=0.5), honest, 6)).float()
    everybody = torch.cat([honest, lie.expand(6, -1)])
    assert torch.equal(krum(num_byzantine=6)(everybody), lie.double())
    assert float((median()(everybody) - median()(honest)).mean()) < -0.05
