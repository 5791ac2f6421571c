"""Masks and boxes over their images: pixels where they must be, and what tasks show of a model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nnray.data.splits import NO_CLASS, DataInfo
from nnray.tasks.detection import detection
from nnray.tasks.exhibit import Passage, Picture
from nnray.tasks.overlays import COLORS, boxed, hue, legend, masked, rows, shown_examples
from nnray.tasks.segmentation import segmentation

NAMES = ("background", "a", "b")
MASKS = DataInfo("made up", (1, 6, 4), NAMES, targets="classes", target_shape=(6, 4))
BOXES = DataInfo("made up", (3, 6, 4), ("a", "b"), targets="boxes", target_shape=(2, 5))


class Says(nn.Module):
    """Gives the same answer whatever it is asked."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Tensor:
        return self.answer.expand(len(x), *self.answer.shape)


def test_pixels_are_tinted_by_class_and_the_rest_is_left() -> None:
    images = torch.rand(1, 3, 1, 4)
    mask = torch.tensor([[[0, 1, 2, NO_CLASS]]])
    shown = masked(images, mask, classes=NAMES)
    assert torch.equal(shown[..., [0, 3]], images[..., [0, 3]])
    for label in (1, 2):
        expected = 0.45 * images[0, :, 0, label] + 0.55 * torch.tensor(hue(label))
        torch.testing.assert_close(shown[0, :, 0, label], expected)


def test_grey_images_are_shown_in_three_channels_and_left_as_they_were() -> None:
    images = torch.rand(2, 1, 3, 3)
    before = images.clone()
    shown = masked(images, torch.ones(2, 3, 3, dtype=torch.int64), classes=NAMES)
    assert shown.shape == (2, 3, 3, 3)
    assert torch.equal(images, before)


def test_a_box_is_drawn_along_its_inside() -> None:
    images = torch.zeros(1, 3, 200, 160)
    shown = boxed(images, torch.tensor([[[1.0, 10, 20, 30, 60], [-1, 0, 0, 99, 99]]]))
    lit = shown[0].any(0).nonzero()
    assert shown.shape == images.shape
    assert (lit.amin(0).tolist(), lit.amax(0).tolist()) == ([20, 10], [59, 29])
    assert len(lit) == 2 * 40 + 2 * 20 - 4
    torch.testing.assert_close(shown[0, :, 20, 10], torch.tensor(hue(1)))
    assert not images.any()


@pytest.mark.parametrize("box", [(-50, -50, 500, 500), (3, 3, 4, 4), (7, 7, 9, 9)], ids=str)
def test_boxes_that_reach_beyond_the_image_are_cut_off(box: tuple[int, ...]) -> None:
    shown = boxed(torch.zeros(1, 3, 8, 8), torch.tensor([[[0.0, *map(float, box)]]]))
    assert shown.any()
    assert shown.shape == (1, 3, 144, 144)


def test_small_images_are_enlarged_with_their_boxes() -> None:
    shown = boxed(torch.zeros(1, 3, 48, 48), torch.tensor([[[0.0, 0, 0, 48, 24]]]))
    lit = shown[0].any(0).nonzero()
    assert lit.amax(0).tolist() == [71, 143]


def test_rows_stand_below_each_other() -> None:
    one, two = torch.rand(3, 3, 4, 5), torch.rand(3, 3, 4, 5)
    pixels = rows(one, two).pixels
    assert pixels.shape == (3, 4 + 2 + 4, 5 * 3 + 2 * 2)
    assert torch.equal(pixels[:, :4, 7:12], one[1])
    assert torch.equal(pixels[:, 6:, 14:], two[2])
    assert (pixels[:, 4:6] == 1).all()


def test_the_examples_shown_depend_on_the_seed_alone() -> None:
    assert torch.equal(shown_examples(100, seed=1), shown_examples(100, seed=1))
    assert not torch.equal(shown_examples(100, seed=1), shown_examples(100, seed=2))
    assert shown_examples(3, seed=1).tolist() == [0, 1, 2]
    state = torch.get_rng_state()
    shown_examples(50, seed=5)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_class_has_its_colour_in_the_legend() -> None:
    lines = legend("What it is.", [f"c{number}" for number in range(12)]).text.splitlines()
    assert lines[0] == "What it is."
    assert lines[1:] == [f"c{number}: {list(COLORS)[number % 10]}" for number in range(12)]


def test_segmentation_shows_the_mask_there_is_and_the_mask_that_is_given() -> None:
    images, targets = torch.rand(20, 1, 6, 4), torch.randint(3, (20, 6, 4))
    answer = nn.functional.one_hot(torch.ones(6, 4, dtype=torch.int64), 3).permute(2, 0, 1).float()
    shown = segmentation(MASKS).exhibits(Says(answer), images, targets, seed=3)
    picture, text = shown["masks"], shown["masks_legend"]
    assert isinstance(picture, Picture)
    assert isinstance(text, Passage)
    chosen = shown_examples(20, seed=3)
    expected = rows(
        images[chosen].expand(-1, 3, -1, -1),
        masked(images[chosen], targets[chosen], classes=NAMES),
        masked(images[chosen], torch.ones_like(targets[chosen]), classes=NAMES),
    )
    assert torch.equal(picture.pixels, expected.pixels)
    assert "a: orange" in text.text


def test_segmentation_of_what_is_no_image_shows_nothing() -> None:
    shown = segmentation(MASKS).exhibits(Says(torch.zeros(3, 9)), torch.rand(5, 9), torch.zeros(5, 9), seed=0)
    assert shown == {}


def test_detection_shows_the_boxes_there_are_and_the_sure_ones_given() -> None:
    images = torch.rand(2, 3, 6, 4)
    targets = torch.tensor([[[0.0, 0, 0, 4, 4], [-1, 0, 0, 0, 0]]]).expand(2, -1, -1)
    answer = torch.tensor([[1.0, 1, 1, 4, 6, 0.9], [0, 0, 0, 2, 2, 0.3], [-1, 0, 0, 0, 0, 0]])
    shown = detection(BOXES).exhibits(Says(answer), images, targets, seed=0)
    picture = shown["boxes"]
    assert isinstance(picture, Picture)
    expected = rows(boxed(images, targets), boxed(images, answer[None, :1].expand(2, -1, -1)))
    assert torch.equal(picture.pixels, expected.pixels)
