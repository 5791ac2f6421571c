"""Curves of robust accuracy, against attacking every example at every bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnray.errors import DataError
from nnray.robustness.attack import is_wrong
from nnray.robustness.curve import Robustness, attack_all, worst_of
from nnray.robustness.gradient import fgsm, mim, pgd
from nnray.robustness.minimal import deepfool
from nnray.robustness.space import exact_norms, space_of
from tests.unit.robustness.trained import INFO, images, of_images

SPACE = space_of(INFO)


def batches(count: int = 48, size: int = 20) -> Iterator[tuple[Tensor, Tensor]]:
    batch = images(count)
    yield from zip(batch.inputs.split(size), batch.targets.split(size), strict=True)


def run(attack: Any = None, **options: Any) -> Robustness:
    given: dict[str, Any] = {
        "attack": attack or fgsm(),
        "epsilons": (0.05, 0.1, 0.2),
        "space": SPACE,
        "seed": 1,
    }
    return attack_all(of_images(), batches(), **{**given, **options})


@pytest.mark.parametrize("attack", [fgsm(), mim(), pgd(steps=5, random_start=False)])
def test_a_curve_is_what_attacking_all_examples_gives_where_breaks_stay(attack: Any) -> None:
    found, batch = run(attack), images(48)
    broken = torch.zeros(48, dtype=torch.bool)
    for epsilon, accuracy in zip(found.epsilons, found.accuracies, strict=True):
        rng = torch.Generator()
        moved = attack(of_images(), batch.inputs, batch.targets, epsilon=epsilon, space=SPACE, rng=rng)
        with torch.no_grad():
            broken |= is_wrong(of_images()(moved), batch.targets)
        assert accuracy == pytest.approx(1 - float(broken.double().mean()))


def test_epsilon_zero_is_the_clean_accuracy_and_no_curve_rises() -> None:
    found, batch = run(epsilons=(0.2, 0.1, 0.3)), images(48)
    with torch.no_grad():
        clean = float((of_images()(batch.inputs).argmax(1) == batch.targets).double().mean())
    assert found.epsilons == (0.0, 0.1, 0.2, 0.3)
    assert found.accuracies[0] == pytest.approx(clean)
    assert list(found.accuracies) == sorted(found.accuracies, reverse=True)
    assert found.accuracies[-1] < 0.5


def test_the_same_seed_gives_the_same_curve_and_another_seed_draws_anew() -> None:
    weak = pgd(steps=1, step_size=0.1)
    one, same, other = (run(weak, seed=seed, epsilons=(0.3,), keep=4) for seed in (1, 1, 2))
    assert torch.equal(one.broken_at, same.broken_at)
    assert not torch.equal(one.examples[0].moved, other.examples[0].moved)


def test_a_minimal_attack_is_measured_once_and_read_at_every_bound() -> None:
    calls = []

    def counted(model: nn.Module, inputs: Tensor, *rest: Any, **options: Any) -> Tensor:
        calls.append(options["epsilon"])
        return inner(model, inputs, *rest, **options)

    attack = deepfool(norm="linf", steps=10)
    inner = attack.perturb
    object.__setattr__(attack, "perturb", counted)
    found = run(attack)
    assert calls == [torch.inf] * 3
    assert found.distances is not None
    for epsilon, accuracy in zip(found.epsilons, found.accuracies, strict=True):
        assert accuracy == pytest.approx(float((found.distances > epsilon).double().mean()))
    assert 0.01 < (found.median_distance or 0.0) < 0.5


def test_examples_are_those_that_were_right_and_are_misled() -> None:
    found, batch = run(keep=5), images(48)
    assert 0 < len(found.examples) <= 5
    for one in found.examples:
        assert torch.equal(one.clean, batch.inputs[one.index])
        assert one.target == batch.targets[one.index]
        with torch.no_grad():
            before, after = (int(of_images()(x[None]).argmax()) for x in (one.clean, one.moved))
        assert before == one.target
        assert after == one.said != one.target
        apart = exact_norms(one.clean[None], one.moved[None], norm="linf", space=SPACE)
        assert float(apart) <= one.epsilon
        assert float(found.broken_at[one.index]) == pytest.approx(one.epsilon)


def test_attacks_together_are_as_bad_as_the_worst_of_them_for_each_example() -> None:
    parts = {"fgsm": run(fgsm()), "mim": run(mim())}
    together = worst_of(parts)
    assert together is not None
    assert torch.equal(together.broken_at, torch.minimum(*(one.broken_at for one in parts.values())))
    assert worst_of({**parts, "l2": run(pgd(norm="l2", steps=2))}) is None


def test_intervals_are_wilsons() -> None:
    one = Robustness((0.0,), torch.tensor([torch.inf] * 8 + [0.0] * 2), "linf")
    # Newcombe 1998, method 3, for 8 of 10.
    assert one.intervals[0] == pytest.approx((0.4902, 0.9433), abs=1e-4)
    for broken in (0.0, torch.inf):
        low, high = Robustness((0.0,), torch.full((7,), broken), "linf").intervals[0]
        assert 0 <= low < high <= 1


def test_no_examples_and_outputs_of_nan_are_told() -> None:
    with pytest.raises(DataError, match="no examples"):
        attack_all(of_images(), [], attack=fgsm(), epsilons=(0.1,), space=SPACE, seed=0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    nn.init.constant_(net[1].bias, torch.nan)
    with pytest.raises(DataError, match="not finite for 20 of 20"):
        attack_all(net, batches(), attack=fgsm(), epsilons=(0.1,), space=SPACE, seed=0)
