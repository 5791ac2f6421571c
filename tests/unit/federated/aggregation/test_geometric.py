"""The geometric median where it is known, and where Weiszfeld's iteration is known to get stuck."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nnray.federated.aggregation.geometric import geometric_median
from nnray.seeding import torch_rng

exact = geometric_median(smoothing=1e-9, tolerance=1e-12, max_iterations=20_000)


def pulls(x: Tensor, point: Tensor) -> Tensor:
    """The sum of the unit vectors to all updates that are not at the point."""
    apart = x.double() - point
    norms = apart.norm(dim=1)
    return (apart[norms > 1e-6] / norms[norms > 1e-6, None]).sum(0)


@pytest.mark.parametrize("seed", range(10))
def test_at_the_median_all_pulls_cancel(seed: int) -> None:
    """Source: Weiszfeld 1937: the gradient of the sum of distances is zero."""
    x = torch.randn(8, 5, generator=torch_rng(seed, "x"))
    assert float(pulls(x, exact(x)).norm()) < 1e-6
    assert float(pulls(x, x.double().mean(0)).norm()) > 1e-2


def test_of_a_triangle_it_is_the_point_from_which_sides_are_seen_at_120_degrees() -> None:
    """Fermat's point: of (0, 0), (1, 0), (0, 1) both coordinates are (3 - sqrt 3) / 6."""
    found = exact(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    torch.testing.assert_close(found, torch.full((2,), (3 - 3**0.5) / 6, dtype=torch.float64))


def test_of_three_in_a_line_it_is_the_middle_one() -> None:
    found = exact(torch.tensor([[0.0, 0.0], [1.0, 1.0], [50.0, 50.0]]))
    torch.testing.assert_close(found, torch.ones(2, dtype=torch.float64), atol=1e-6, rtol=0)


def test_an_update_that_most_clients_send_is_the_median() -> None:
    x = torch.randn(5, 7, generator=torch_rng(0, "x"))
    x[:3] = x[0]
    torch.testing.assert_close(exact(x), x[0].double(), atol=1e-6, rtol=0)


def test_it_gets_away_from_a_mean_that_is_an_update() -> None:
    """From an update, Weiszfeld's iteration without smoothing divides by zero."""
    x = torch.tensor([[0.0, 0.0], [4.0, 0.0], [-2.0, 3.0], [-2.0, -3.0], [0.0, 0.0]])
    x[4] = -x[1] - x[2] - x[3]
    assert not x.mean(0).any()
    found = exact(x)
    assert torch.isfinite(found).all()
    assert float(pulls(x, found).norm()) <= 2 + 1e-6


def test_the_keys_mean_what_they_say() -> None:
    x = torch.randn(9, 5, generator=torch_rng(1, "x")) ** 3
    best = exact(x)

    def far(**keys: float) -> float:
        return float((geometric_median(**keys)(x) - best).norm())  # type: ignore[arg-type]

    mean_is = float((x.double().mean(0) - best).norm())
    assert far(max_iterations=1) < mean_is
    assert (
        far(max_iterations=50, tolerance=1e-12)
        < far(max_iterations=3, tolerance=1e-12)
        < far(max_iterations=1)
    )
    assert far(tolerance=1e-10) < far(tolerance=1e-1)
    # With all distances below the smoothing, all pulls are alike, and the mean stays where it is.
    assert far(smoothing=1e6) == pytest.approx(mean_is)
