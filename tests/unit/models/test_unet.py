"""The small U-Net: sizes, messages, and that it sees as far as it should."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from nnray.data.splits import DataInfo
from nnray.errors import DataError
from nnray.models.unet import unet

INFO = DataInfo("masks", (3, 16, 16), tuple("abcd"), targets="classes", target_shape=(16, 16))


def sized(height: int, width: int) -> DataInfo:
    return dataclasses.replace(INFO, input_shape=(3, height, width), target_shape=(height, width))


@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 9), (17, 23), (32, 16)])
def test_any_size_comes_out_as_it_went_in(height: int, width: int) -> None:
    net = unet(sized(height, width))
    assert net(torch.rand(2, 3, height, width)).shape == (2, 4, height, width)


def test_parameters_are_those_counted_by_hand() -> None:
    net = unet(INFO, channels=(4, 8), norm="none")
    down = (3 * 9 + 1) * 4 + (4 * 9 + 1) * 4 + (4 * 9 + 1) * 8 + (8 * 9 + 1) * 8
    up = (12 * 9 + 1) * 4 + (4 * 9 + 1) * 4
    assert sum(parameter.numel() for parameter in net.parameters()) == down + up + (4 + 1) * 4


def test_a_pixel_far_away_counts_through_the_smallest_maps_alone() -> None:
    """Two maps see 5 pixels each way at full size; three sizes see across the whole image."""

    def reach(channels: tuple[int, ...]) -> int:
        torch.manual_seed(0)
        net = unet(INFO, channels=channels, norm="none", activation="silu").eval()
        x = torch.rand(1, 3, 16, 16, requires_grad=True)
        net(x)[0, 0, 0, 0].backward()
        assert x.grad is not None
        return int(x.grad[0].abs().sum((0, 1)).nonzero().max())

    assert reach((4,)) == 2
    assert reach((4, 4, 4)) == 15


def test_details_are_handed_across() -> None:
    net = unet(INFO, norm="none").eval()
    x, moved = torch.rand(1, 3, 16, 16), torch.zeros(1, 3, 16, 16)
    moved[..., 8, 8] = 1
    change = (net(x + moved) - net(x)).abs().sum(1)[0]
    assert change.argmax() // 16 in (7, 8, 9)


def test_what_it_can_t_answer_is_refused() -> None:
    with pytest.raises(DataError, match=r"4 x 4 pixels or more.*have 3 x 8"):
        unet(sized(3, 8))
    with pytest.raises(
        DataError, match=r"16 x 16 pixels, data set masks has targets of kind class and shape"
    ):
        unet(dataclasses.replace(INFO, targets="class", target_shape=()))
    with pytest.raises(DataError, match=r"kind classes and shape \[8, 8\]: use a data set with masks"):
        unet(dataclasses.replace(INFO, target_shape=(8, 8)))
