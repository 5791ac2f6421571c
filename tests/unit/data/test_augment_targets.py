"""Masks and boxes go where their images go; what can't take them along refuses them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from nnray.data import augment
from nnray.data.batches import Batches
from nnray.data.shapes import shapes
from nnray.data.splits import NO_CLASS, DataInfo, Examples
from nnray.errors import DataError

SIDE = 24
MASKS = DataInfo("made up", (1, 5, 7), tuple("abc"), targets="classes", target_shape=(5, 7))
BOXES = DataInfo("made up", (1, 8, 10), tuple("ab"), targets="boxes", target_shape=(2, 5))
IMAGES = DataInfo("made up", (2, 5, 7), (), targets="numbers", target_shape=(2, 5, 7))
MOVES: list[tuple[str, dict[str, Any]]] = [
    ("crop", {"padding": 3}),
    ("flip", {"p": 0.5}),
    ("flip", {"p": 0.5, "direction": "vertical"}),
]
every_move = pytest.mark.parametrize(("name", "options"), MOVES, ids=str)


def made(name: str, info: DataInfo, **options: Any) -> Any:
    return getattr(augment, name)(info, **options)


def draw(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@every_move
def test_the_class_of_a_pixel_goes_where_the_pixel_goes(name: str, options: dict[str, Any]) -> None:
    """Pixels that say their own class: wherever they come to, the mask says the same."""
    mask = torch.randint(1, 3, (40, 5, 7), generator=draw(0))
    inputs, targets = made(name, MASKS, **options)(mask[:, None] / 2, mask, draw())
    assert targets.dtype == torch.int64
    inside = targets != NO_CLASS
    assert torch.equal(targets[inside], (2 * inputs[:, 0][inside]).long())
    assert not inputs[:, 0][~inside].any(), "what came in from outside is black"
    assert inside.all() == (name == "flip")
    assert not torch.equal(targets, mask)


def test_a_reflected_crop_reflects_the_mask() -> None:
    mask = torch.randint(3, (40, 5, 7), generator=draw(0))
    inputs, targets = augment.crop(MASKS, padding=3, edge="reflect")(mask[:, None] / 2, mask, draw())
    assert torch.equal(targets, (2 * inputs[:, 0]).long())


def test_pixels_that_do_not_count_still_do_not_count() -> None:
    mask = torch.full((20, 5, 7), NO_CLASS)
    for name, options in MOVES:
        _, targets = made(name, MASKS, **options)(torch.rand(20, 1, 5, 7), mask, draw())
        assert (targets == NO_CLASS).all()


@every_move
def test_images_that_are_answers_move_like_the_question(name: str, options: dict[str, Any]) -> None:
    x = torch.rand(20, 2, 5, 7)
    inputs, targets = made(name, IMAGES, **options)(x, x.clone(), draw())
    assert torch.equal(inputs, targets)
    assert not torch.equal(inputs, x)


def tight(image: Tensor) -> list[int]:
    """The box of what isn't black."""
    rows, columns = image.any(1).nonzero().flatten(), image.any(0).nonzero().flatten()
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


@every_move
def test_a_box_stays_tight_around_its_object(name: str, options: dict[str, Any]) -> None:
    """Against looking for the object in the moved image."""
    images = torch.zeros(60, 1, 8, 10)
    images[:, :, 1:4, 1:7] = 1
    boxes = torch.tensor([[1.0, 1, 1, 7, 4], [-1, 0, 0, 0, 0]]).expand(60, -1, -1)
    inputs, targets = made(name, BOXES, **options)(images, boxes, draw())
    assert len(targets.unique(dim=0)) > 1
    assert (targets[:, 1] == torch.tensor([-1.0, 0, 0, 0, 0])).all(), "none stays none"
    for image, box in zip(inputs[:, 0], targets[:, 0].tolist(), strict=True):
        assert box == [1, *tight(image)]


def test_a_box_of_which_nothing_is_left_is_taken_out() -> None:
    boxes = torch.tensor([[[0.0, 0, 0, 3, 3], [1, 4, 4, 6, 6]]]).expand(200, -1, -1)
    _, targets = augment.crop(BOXES, padding=4)(torch.rand(200, 1, 8, 10), boxes, draw())
    gone = targets[..., 0] == -1
    assert 0 < gone[:, 0].sum() < 200
    assert not targets[gone].sum(1).add(1).any(), "zeros where there is no box"
    left = targets[~gone]
    assert (left[:, 3] - left[:, 1]).min() >= 1
    assert (left[:, 4] - left[:, 2]).min() >= 1
    assert left[:, [3, 4]].max() <= 10


@pytest.mark.parametrize("kind", ["masks", "boxes"])
def test_batches_of_generated_shapes_stay_true(kind: str) -> None:
    """What batches hand out has targets that a data set might have."""
    splits = shapes(kind=kind, examples=20, test_examples=1, size=SIDE)  # type: ignore[arg-type]
    assert isinstance(splits.train, Examples)
    info = DataInfo(
        "shapes",
        (3, SIDE, SIDE),
        splits.info.classes,
        targets=splits.info.targets,
        target_shape=tuple(splits.train.targets.shape[1:]),
    )
    moves = [augment.flip(info), augment.crop(info, padding=4), augment.color(info)]
    for inputs, targets in Batches(splits.train, batch_size=8, shuffle=True, augment=moves).epoch(1):
        assert inputs.shape[1:] == info.input_shape
        assert targets.shape[1:] == info.target_shape
        assert targets.dtype == splits.train.targets.dtype


@pytest.mark.parametrize("info", [MASKS, BOXES, IMAGES], ids=lambda info: info.targets)
@pytest.mark.parametrize("name", ["rotation", "erasing"])
def test_what_would_part_image_and_target_is_refused(name: str, info: DataInfo) -> None:
    with pytest.raises(
        DataError, match=rf"{name} would part .* made up .*kind {info.targets}; allowed: crop"
    ):
        made(name, info)


@pytest.mark.parametrize("info", [MASKS, BOXES, IMAGES], ids=lambda info: info.targets)
@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_only_classes_of_whole_examples_are_mixed(name: str, info: DataInfo) -> None:
    with pytest.raises(DataError, match=rf"{name} mixes the classes .*kind {info.targets}; remove it"):
        made(name, info)


def test_a_reflected_crop_is_refused_where_there_are_boxes() -> None:
    with pytest.raises(DataError, match=r"edge reflect shows objects anew .* made up has boxes"):
        augment.crop(BOXES, padding=2, edge="reflect")


def test_classes_of_other_places_than_pixels_are_refused() -> None:
    odd = DataInfo("made up", (1, 5, 7), tuple("abc"), targets="classes", target_shape=(5,))
    for name in ("crop", "flip", "rotation"):
        with pytest.raises(DataError, match="which pixel is whose isn't known"):
            made(name, odd)(torch.rand(2, 1, 5, 7), torch.zeros(2, 5).long(), draw())


def test_a_number_for_a_whole_image_stays() -> None:
    info = DataInfo("made up", (1, 5, 7), (), targets="numbers", target_shape=(3,))
    numbers = torch.rand(9, 3)
    for name in ("crop", "flip", "rotation", "erasing", "color"):
        assert made(name, info)(torch.rand(9, 1, 5, 7), numbers, draw())[1] is numbers
