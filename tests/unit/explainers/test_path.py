"""The gradient integrated along a way, where the integral is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nnray.explainers import explainer
from nnray.explainers.path import HALVINGS, Pieces, Way
from nnray.seeding import torch_rng, torch_seeded

END = torch.randn(9, 5, generator=torch_rng(3, "end"), dtype=torch.float64)
START = torch.zeros_like(END)
TARGETS = torch.arange(9) % 2
LIMITS = (1.0, 1e-1, 1e-2)


class Sums(nn.Module):
    """Scores that are sums of one function of each value: the integral is its change, value by value."""

    def __init__(self, power: int) -> None:
        super().__init__()
        self.power, self.passes = power, 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.passes += len(inputs)
        score = inputs.pow(self.power).sum(1)
        return torch.stack([score, -3 * score], dim=1)


class Kinked(nn.Module):
    """Each value counts from 0.3 on, so that its gradient jumps once on the way."""

    def forward(self, inputs: Tensor) -> Tensor:
        score = (inputs - 0.3).relu().sum(1)
        return torch.stack([score, 2 * score], dim=1)


def known(change: Tensor, *factors: float) -> Tensor:
    return torch.tensor(factors, dtype=change.dtype)[TARGETS][:, None] * change


def all_of(value: float) -> Tensor:
    return torch.full((len(END),), value, dtype=END.dtype)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("steps", [1, 4])
def test_the_middle_is_exact_up_to_squares(power: int, steps: int) -> None:
    model = Sums(power).eval()
    found = Way(model, START, END, TARGETS).integrate(steps=steps, allowed=all_of(1e-9))
    torch.testing.assert_close(found, known(END**power, 1.0, -3.0), rtol=1e-12, atol=1e-12)


def test_pieces_are_halved_until_the_sum_is_near_enough() -> None:
    errors, passes = [], []
    for allowed in LIMITS:
        model = Sums(5).eval()
        found = Way(model, START, END, TARGETS).integrate(steps=2, allowed=all_of(allowed))
        errors.append(float((found - known(END**5, 1.0, -3.0)).sum(1).abs().max()))
        passes.append(model.passes)
    assert all(error <= allowed for error, allowed in zip(errors, LIMITS, strict=True))
    assert errors == sorted(errors, reverse=True)
    assert passes == sorted(set(passes))


def test_a_jump_is_found_though_no_step_begins_there() -> None:
    allowed = 1e-2
    found = Way(Kinked().eval(), START, END.abs(), TARGETS).integrate(steps=3, allowed=all_of(allowed))
    wanted = known((END.abs() - 0.3).relu(), 1.0, 2.0)
    assert (found - wanted).sum(1).abs().max() <= allowed


def test_it_ends_where_nothing_is_near_enough() -> None:
    model = Sums(5).eval()
    found = Way(model, START, END, TARGETS).integrate(steps=1, allowed=all_of(0.0))
    # As from that many equal pieces: the midpoint rule's error of fifth powers.
    wanted = known(END**5, 1.0, -3.0)
    assert (found - wanted).abs().max() <= 4.0**-HALVINGS * 2 * wanted.abs().max()
    assert model.passes <= len(END) * 3 * 2 ** (HALVINGS + 1)


def test_examples_do_not_depend_on_each_other() -> None:
    with torch_seeded(3, "init"):
        model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 2)).double().eval()
    together = Way(model, START, END, TARGETS).integrate(steps=4, allowed=all_of(1e-3))
    for row in range(len(END)):
        one = slice(row, row + 1)
        way = Way(model, START[one], END[one], TARGETS[one])
        alone = way.integrate(steps=4, allowed=all_of(1e-3)[one])
        torch.testing.assert_close(alone, together[one], rtol=1e-9, atol=1e-12)


def test_blocks_hold_all_pieces_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explainer, "ROWS", 4)
    pieces = Pieces(torch.arange(10), torch.linspace(0, 0.9, 10), 0.1)
    blocks = list(pieces.blocks())
    assert [len(block.example) for block in blocks] == [4, 4, 2]
    assert torch.equal(torch.cat([block.example for block in blocks]), pieces.example)
    assert torch.equal(torch.cat([block.left for block in blocks]), pieces.left)
    assert {block.width for block in blocks} == {0.1}


def test_halves_cover_what_was_halved() -> None:
    pieces = Pieces(torch.tensor([0, 0, 1]), torch.tensor([0.0, 0.5, 0.5]), 0.5)
    halves = pieces.halved(torch.tensor([True, False, True]))
    assert halves.example.tolist() == [0, 0, 1, 1]
    assert halves.left.tolist() == [0.0, 0.25, 0.5, 0.75]
    assert halves.width == 0.25
