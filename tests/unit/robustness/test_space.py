"""Bounds, boxes and units, against what they are by definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnray.data.splits import DataInfo
from nnray.robustness.space import (
    NORMS,
    Norm,
    Space,
    exact_norms,
    kept_within,
    norms,
    project,
    random_move,
    space_of,
    steepest,
)

IMAGES = Space(box=(0.0, 1.0))
every_norm = pytest.mark.parametrize("norm", NORMS)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_images_have_a_box_and_vectors_have_units() -> None:
    images = space_of(DataInfo("i", (1, 4, 4), ("a", "b"), mean=(0.5,), std=(0.2,)))
    assert (images.box, images.scale) == ((0.0, 1.0), None)
    vectors = space_of(DataInfo("v", (2,), ("a", "b"), mean=(0.0, 0.0), std=(3.0, 1.0)))
    assert vectors.box is None
    assert vectors.scale is not None
    assert vectors.scale.tolist() == [3.0, 1.0]
    assert "standard deviations" in vectors.units
    assert space_of(DataInfo("raw", (2,), ("a", "b"))).scale.tolist() == [1.0, 1.0]  # type: ignore[union-attr]


def test_a_move_is_in_units_of_each_feature() -> None:
    space = Space(scale=torch.tensor([2.0, 10.0]))
    inputs = torch.tensor([[1.0, 1.0]])
    moved = space.moved(inputs, torch.tensor([[0.5, -0.5]]))
    assert moved.tolist() == [[2.0, -4.0]]
    assert space.delta(inputs, moved).tolist() == [[0.5, -0.5]]


def test_a_missing_value_is_not_moved_and_weighs_nothing() -> None:
    inputs = torch.tensor([[1.0, torch.nan]])
    space = Space(scale=torch.ones(2))
    assert space.clip(inputs, torch.ones(1, 2)).tolist() == [[1.0, 0.0]]
    assert exact_norms(inputs, space.moved(inputs, torch.ones(1, 2)), norm="l2", space=space).tolist() == [
        1.0
    ]


def test_moves_end_at_the_box() -> None:
    inputs = torch.tensor([[0.1, 0.95]])
    assert IMAGES.moved(inputs, torch.tensor([[-0.5, 0.5]])).tolist() == [[0.0, 1.0]]
    torch.testing.assert_close(IMAGES.clip(inputs, torch.tensor([[-0.5, 0.5]])), torch.tensor([[-0.1, 0.05]]))


@every_norm
@given(epsilon=st.floats(1e-3, 5.0), seed=st.integers(0, 2**20))
def test_projection_is_onto_the_ball_and_leaves_its_inside(norm: Norm, epsilon: float, seed: int) -> None:
    delta = torch.randn(6, 2, 3, generator=rng(seed))
    held = project(delta, epsilon=epsilon, norm=norm)
    assert (norms(held, norm) <= epsilon * (1 + 1e-6)).all()
    inside = norms(delta, norm) <= epsilon
    torch.testing.assert_close(held[inside], delta[inside])
    # Nothing in the ball is nearer: along the way to any other point of it, the distance grows.
    other = project(torch.randn(6, 2, 3, generator=rng(seed + 1)), epsilon=epsilon, norm=norm)
    towards = ((delta - held) * (other - held)).flatten(1).sum(1)
    assert (towards <= 1e-4).all()


@every_norm
def test_the_steepest_move_is_of_norm_one_and_gains_most(norm: Norm) -> None:
    gradient = torch.randn(5, 7, generator=rng())
    best = steepest(gradient, norm)
    torch.testing.assert_close(norms(best, norm), torch.ones(5))
    others = project(torch.randn(200, 5, 7, generator=rng(1)).flatten(0, 1), epsilon=1.0, norm=norm)
    gains = (others.view(200, 5, 7) * gradient).sum(2).amax(0)
    assert ((best * gradient).sum(1) >= gains).all()


@every_norm
@pytest.mark.parametrize("size", [1e-38, 1e-30, 1.0, 1e30])
def test_a_gradient_of_any_size_has_a_direction_and_none_has_none(norm: Norm, size: float) -> None:
    gradient = torch.tensor([[1.0, -1.0], [0.0, 0.0]]) * size
    assert norms(steepest(gradient, norm), norm).tolist() == pytest.approx([1.0, 0.0])


@every_norm
def test_random_moves_fill_the_ball_evenly(norm: Norm) -> None:
    moves = random_move(torch.zeros(4000, 2), epsilon=0.5, norm=norm, rng=rng())
    lengths = norms(moves, norm)
    assert lengths.max() <= 0.5
    # Of a ball in two dimensions, a quarter lies within half the radius.
    assert float((lengths < 0.25).double().mean()) == pytest.approx(0.25, abs=0.03)
    assert moves.mean(0).abs().max() < 0.02


@every_norm
@given(epsilon=st.floats(1e-9, 2.0), seed=st.integers(0, 2**20))
def test_what_is_kept_within_is_there_to_the_last_bit(norm: Norm, epsilon: float, seed: int) -> None:
    inputs = torch.rand(4, 9, generator=rng(seed))
    moved = IMAGES.moved(inputs, random_move(inputs, epsilon=2 * epsilon, norm=norm, rng=rng(seed)))
    held = kept_within(inputs, moved, epsilon=epsilon, norm=norm, space=IMAGES)
    assert exact_norms(inputs, held, norm=norm, space=IMAGES).max() <= epsilon
    assert held.min() >= 0 and held.max() <= 1


@every_norm
def test_what_is_within_is_not_touched(norm: Norm) -> None:
    inputs = torch.rand(4, 9, generator=rng())
    moved = inputs * 0.99
    assert torch.equal(kept_within(inputs, moved, epsilon=1.0, norm=norm, space=IMAGES), moved)
    assert torch.equal(kept_within(inputs, moved, epsilon=torch.inf, norm=norm, space=IMAGES), moved)


@every_norm
def test_a_rounding_error_too_far_is_taken_back_and_no_more(norm: Norm) -> None:
    inputs = torch.rand(500, 9, generator=rng()) * 0.4 + 0.3
    moved = inputs + 0.1 * steepest(torch.randn(500, 9, generator=rng(1)), norm)
    assert (exact_norms(inputs, moved, norm=norm, space=IMAGES) > 0.1).any()
    held = kept_within(inputs, moved, epsilon=0.1, norm=norm, space=IMAGES)
    assert exact_norms(inputs, held, norm=norm, space=IMAGES).max() <= 0.1
    torch.testing.assert_close(held, moved, atol=1e-6, rtol=0)
