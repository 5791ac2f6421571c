"""What attacks do, against what is known of linear networks, and against each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nnray.robustness.attack import Attack, is_wrong
from nnray.robustness.gradient import Climb, Worst, fgsm, mim, pgd
from nnray.robustness.minimal import deepfool
from nnray.robustness.space import NORMS, Norm, Space, exact_norms, norms, space_of
from nnray.robustness.square import _share_at, square
from tests.unit.robustness.trained import INFO, images, of_images

FREE = Space(scale=torch.ones(5))
IMAGES = space_of(INFO)
every_norm = pytest.mark.parametrize("norm", NORMS)


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def linear(*, classes: int = 2) -> nn.Module:
    net = nn.Linear(5, classes)
    with torch.no_grad():
        net.weight.copy_(torch.randn(classes, 5, generator=rng()))
        net.bias.zero_()
    return net


def border(net: nn.Module, inputs: Tensor, targets: Tensor, norm: Norm) -> Tensor:
    """The distance to the nearest class of a linear network, by its formula."""
    assert isinstance(net, nn.Linear)
    found = torch.full((len(inputs),), torch.inf)
    outputs = net(inputs).detach()
    for other in range(len(net.weight)):
        w = net.weight[other].detach() - net.weight[targets].detach()
        dual = w.abs().sum(1) if norm == "linf" else w.norm(dim=1)
        gap = outputs.gather(1, targets[:, None])[:, 0] - outputs[:, other]
        found = torch.where(targets == other, found, torch.minimum(found, gap / dual))
    return found


@every_norm
@pytest.mark.parametrize("classes", [2, 4])
def test_deepfool_finds_the_nearest_border_of_a_linear_network(norm: Norm, classes: int) -> None:
    net, inputs = linear(classes=classes), torch.randn(50, 5, generator=rng())
    targets = net(inputs).argmax(1)
    attack = deepfool(norm=norm)
    moved = attack(net, inputs, targets, epsilon=torch.inf, space=FREE, rng=rng())
    found = exact_norms(inputs, moved, norm=norm, space=FREE)
    assert is_wrong(net(moved), targets).all()
    torch.testing.assert_close(found.float(), border(net, inputs, targets, norm), rtol=0.03, atol=1e-5)


@every_norm
@pytest.mark.parametrize("make", [fgsm, pgd, mim])
def test_gradients_break_a_linear_network_just_beyond_its_border(make: object, norm: Norm) -> None:
    net, inputs = linear(), torch.randn(40, 5, generator=rng())
    targets = net(inputs).argmax(1)
    distance = border(net, inputs, targets, norm)
    attack = make(norm=norm)  # type: ignore[operator]
    for epsilon in (0.1, 0.5, 1.0):
        moved = attack(net, inputs, targets, epsilon=epsilon, space=FREE, rng=rng())
        wrong, clear = is_wrong(net(moved), targets), (distance - epsilon).abs() > 0.01 * epsilon
        assert torch.equal(wrong[clear], (distance < epsilon)[clear])


def test_one_step_of_the_sign_by_hand() -> None:
    net, inputs = linear(), torch.zeros(1, 5)
    assert isinstance(net, nn.Linear)
    moved = fgsm()(net, inputs, torch.tensor([0]), epsilon=0.25, space=FREE, rng=rng())
    assert torch.equal(moved[0], 0.25 * (net.weight[1] - net.weight[0]).sign())


def broken(attack: Attack, epsilon: float = 0.1) -> int:
    batch = images(128)
    moved = attack(of_images(), batch.inputs, batch.targets, epsilon=epsilon, space=IMAGES, rng=rng())
    return int(is_wrong(of_images()(moved), batch.targets).sum())


def test_more_work_breaks_more() -> None:
    one, many, restarted = (
        broken(pgd(steps=steps, restarts=restarts)) for steps, restarts in ((1, 1), (20, 1), (20, 3))
    )
    assert broken(fgsm()) <= many
    assert one < many <= restarted
    assert broken(mim()) <= many + 3
    assert 0 < broken(square(queries=20)) < broken(square(queries=200)) <= many + 2


def test_a_network_whose_gradients_vanish_is_broken_by_squares_alone() -> None:
    class Masked(nn.Module):
        """Right and wrong as the network within, but outputs so steep that no loss has a gradient."""

        def forward(self, inputs: Tensor) -> Tensor:
            return of_images()(inputs) * 1e4

    batch = images(64)
    counts = {}
    for name, attack in {"pgd": pgd(random_start=False), "square": square(queries=300)}.items():
        moved = attack(Masked(), batch.inputs, batch.targets, epsilon=0.15, space=IMAGES, rng=rng())
        counts[name] = int(is_wrong(of_images()(moved), batch.targets).sum())
    assert counts["square"] > counts["pgd"] + 10


def test_a_square_changes_a_share_that_halves() -> None:
    assert _share_at(0.0, 0.8) == 0.8
    assert _share_at(0.0011, 0.8) == 0.4
    assert _share_at(0.9, 0.8) == pytest.approx(0.8 / 2**9)


def test_squares_move_each_pixel_by_epsilon_or_to_the_box() -> None:
    batch = images(32)
    moved = square(queries=50)(of_images(), batch.inputs, batch.targets, epsilon=0.1, space=IMAGES, rng=rng())
    apart = (moved - batch.inputs).abs()
    at_edge = (moved == 0) | (moved == 1)
    assert ((apart < 1e-6) | ((apart - 0.1).abs() < 1e-6) | at_edge).all()


def test_a_climb_stays_in_the_ball_and_shows_each_place() -> None:
    batch, seen = images(8), []
    climb = Climb("linf", steps=5, step_size=1.0)
    moved = climb(
        of_images(), batch.inputs, lambda outputs: -outputs[:, 0],
        epsilon=0.05, space=IMAGES, rng=rng(), look=lambda x, outputs, losses: seen.append((x, losses)),
    )  # fmt: skip
    assert len(seen) == 6
    assert torch.equal(seen[-1][0], moved)
    assert seen[-1][1].sum() > seen[0][1].sum()
    assert max(float(norms(x - batch.inputs, "linf").max()) for x, _ in seen) <= 0.05 + 1e-6


@every_norm
def test_deepfool_finds_all_images_though_the_box_is_in_its_way(norm: Norm) -> None:
    batch = images(100)
    moved = deepfool(norm=norm)(
        of_images(), batch.inputs, batch.targets, epsilon=torch.inf, space=IMAGES, rng=rng()
    )
    assert is_wrong(of_images()(moved), batch.targets).sum() >= 98
    # It knows no bound, and yet its moves are about the size that an attack within one needs.
    middle = float(exact_norms(batch.inputs, moved, norm=norm, space=IMAGES).median())
    assert 0.3 < broken(pgd(norm=norm), 1.2 * middle) / 128 < 0.9


def test_outputs_that_are_nan_are_wrong() -> None:
    nan = torch.nan
    outputs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [nan, 0.0], [0.0, nan], [nan, nan]])
    assert is_wrong(outputs, torch.zeros(5, dtype=torch.long)).tolist() == [False, True, True, True, True]


def test_the_worst_is_wrong_before_right_and_then_of_the_largest_loss() -> None:
    worst = Worst(torch.zeros(1, 1), torch.tensor([0]))
    right, wrong = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    kept = []
    for place, (outputs, loss) in enumerate(
        [(right, 0.3), (right, 0.2), (wrong, 0.1), (right, 9.0), (right, 8.0), (wrong, 0.5), (wrong, 0.4)]
    ):
        worst.look(torch.full((1, 1), float(place)), outputs, torch.tensor([loss]))
        kept.append(int(worst.inputs))
    assert kept == [0, 0, 2, 2, 2, 5, 5]
