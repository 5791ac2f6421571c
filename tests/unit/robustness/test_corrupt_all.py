"""Errors on corrupted images, by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.errors import DataError
from nnray.robustness.corruption import Corrupted, Corruption, corrupt_all, require_images
from nnray.robustness.corruptions import brightness, gaussian_noise


class Bright(nn.Module):
    """Says 1 for images that are bright on average."""

    def forward(self, inputs: Tensor) -> Tensor:
        mean = inputs.flatten(1).mean(1)
        return torch.stack([0.5 - mean, mean - 0.5], dim=1)


def batches() -> Iterator[tuple[Tensor, Tensor]]:
    images = (
        torch.tensor([0.05, 0.15, 0.25, 0.35, 0.45, 0.9, 0.95, 0.2]).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    )
    yield images[:5], torch.zeros(5, dtype=torch.long)
    yield images[5:], torch.tensor([1, 1, 1])


def test_errors_are_counted_over_all_batches() -> None:
    found = corrupt_all(
        Bright(), batches, corruptions={"brightness": brightness(levels=(0.1, 0.2, 0.3, 0.4, 0.5))}, seed=0
    )
    assert found.clean == 1 / 8
    # The last one is a 1 that looks dark: it becomes right as light is added.
    assert found.errors["brightness"] == (2 / 8, 3 / 8, 4 / 8, 4 / 8, 5 / 8)
    assert found.mean_error == pytest.approx(18 / 40)


def test_draws_differ_between_severities_and_batches_and_not_between_calls() -> None:
    seen: list[Tensor] = []

    class Looks(Bright):
        def forward(self, inputs: Tensor) -> Tensor:
            seen.append(inputs)
            return super().forward(inputs)

    noise = {"noise": gaussian_noise(levels=(0.1,) * 5)}
    for _ in range(2):
        corrupt_all(Looks(), batches, corruptions=noise, seed=3)
    first, again = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first[2], first[4])


def test_mean_corruption_errors_are_ratios_of_sums_averaged_over_corruptions() -> None:
    own = Corrupted(0.1, {"a": (0.1, 0.2, 0.3, 0.4, 0.5), "b": (0.2,) * 5})
    base = Corrupted(0.2, {"a": (0.5,) * 5, "b": (0.4,) * 5})
    mce, relative = own.relative_to(base)
    assert mce == pytest.approx((1.5 / 2.5 + 1.0 / 2.0) / 2)
    assert relative == pytest.approx((1.0 / 1.5 + 0.5 / 1.0) / 2)
    assert own.relative_to(own) == pytest.approx((1.0, 1.0))
    assert own.relative_to(Corrupted(0.0, {"a": (0.0,) * 5, "b": (0.1,) * 5})) == (None, None)


def test_values_are_cut_off_and_wrong_inputs_told() -> None:
    beyond = Corruption(lambda x, level, rng: x + level, (5.0,) * 5)
    assert beyond(torch.rand(2, 1, 3, 3), 1, rng=torch.Generator()).eq(1).all()
    with pytest.raises(DataError, match=r"corruptions are of images.*shape \[4\]"):
        require_images(DataInfo("table", (4,), ("a", "b")))
    with pytest.raises(DataError, match="no images"):
        corrupt_all(Bright(), list, corruptions={}, seed=0)
