"""Generated shapes: what is drawn is what the targets say."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nnray.data.prepare import prepare
from nnray.data.shapes import SHAPES, shapes
from nnray.data.splits import DataSplits, Examples
from nnray.errors import DataError


def train(**kwargs: object) -> Examples:
    made: DataSplits = shapes(**{"examples": 60, "noise": 0.0, **kwargs})  # type: ignore[arg-type]
    assert isinstance(made.train, Examples)
    return made.train


def of_box(mask: Tensor, box: Tensor) -> Tensor:
    x1, y1, x2, y2 = (int(value) for value in box[1:])
    return mask[y1:y2, x1:x2]


def test_masks_and_boxes_are_of_the_same_images() -> None:
    masks, boxes = train(kind="masks"), train(kind="boxes")
    assert torch.equal(masks.inputs, boxes.inputs)


def test_boxes_hold_their_shapes_tightly_and_all_of_them() -> None:
    masks, boxes = train(kind="masks"), train(kind="boxes")
    for mask, found in zip(masks.targets, boxes.targets, strict=True):
        left = mask.clone()
        for box in found[found[:, 0] >= 0]:
            inside = of_box(mask, box)
            label = int(box[0]) + 1
            assert set(inside.unique().tolist()) <= {0, label}
            for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
                assert (edge == label).any()
            of_box(left, box).zero_()
        assert not left.any()
        assert (found[:, 0] >= 0).any()


def test_what_is_no_box_says_so() -> None:
    targets = train(kind="boxes").targets
    assert (targets[targets[..., 0] == -1][:, 1:] == 0).all()
    assert set(targets[..., 0].unique().tolist()) == {-1.0, 0.0, 1.0, 2.0}


@pytest.mark.parametrize(
    ("kind", "share"),
    [("disc", math.pi / 4), ("square", 2 / math.pi), ("triangle", 3 * 3**0.5 / 4 / math.pi)],
)
def test_each_kind_covers_the_area_of_its_form(kind: str, share: float) -> None:
    """Of its box where it is a disc, of the circle about it where it has corners; pixels round a little."""
    masks, boxes = train(kind="masks", size=256), train(kind="boxes", size=256)
    label = SHAPES.index(kind)
    for mask, found in zip(masks.targets, boxes.targets, strict=True):
        for box in found[found[:, 0] == label]:
            inside = of_box(mask, box) == label + 1
            height, width = inside.shape
            if kind == "disc":
                assert float(inside.float().mean()) == pytest.approx(share, rel=0.03)
            else:
                rows, columns = inside.nonzero().double().unbind(1)
                centre = (rows.mean(), columns.mean())
                radius = ((rows - centre[0]).square() + (columns - centre[1]).square()).max().sqrt() + 0.5
                assert len(rows) / float(math.pi * radius**2) == pytest.approx(share, rel=0.08)
            assert 0.2 * 256 <= max(height, width) <= 0.46 * 256


def test_shapes_differ_from_their_background_in_every_channel() -> None:
    examples = train()
    for image, mask in zip(examples.inputs, examples.targets, strict=True):
        ground = image[:, mask == 0][:, :1].int()
        assert ((image[:, mask == 0].int() - ground) == 0).all()
        assert ((image[:, mask > 0].int() - ground).abs() >= 0.24 * 255).all()


def test_noise_moves_pixels_and_nothing_else() -> None:
    plain, noisy = train(), train(noise=0.1)
    assert torch.equal(plain.targets[:1], noisy.targets[:1])
    change = (noisy.inputs.float() - plain.inputs.float())[plain.inputs.float().sub(127).abs() < 50] / 255
    assert float(change.std()) == pytest.approx(0.1, rel=0.1)


def test_test_images_are_others_and_stay_whatever_the_training_images_are() -> None:
    few, many = shapes(examples=10, test_examples=15), shapes(examples=20, test_examples=15)
    other = shapes(examples=10, test_examples=15, split_seed=1)
    assert few.test is not None and many.test is not None and other.test is not None
    assert isinstance(few.train, Examples)
    assert torch.equal(few.test().inputs, many.test().inputs)
    assert not torch.equal(few.test().inputs, other.test().inputs)
    assert not torch.equal(few.test().inputs[:10], few.train.inputs)


def test_classes_are_named_by_kind() -> None:
    masks = prepare(shapes(examples=40), name="shapes", seed=0)
    boxes = prepare(shapes(examples=40, kind="boxes"), name="shapes", seed=0)
    assert masks.info.classes == ("background", *SHAPES)
    assert (masks.info.targets, masks.info.output_shape) == ("classes", (4, 64, 64))
    assert boxes.info.classes == SHAPES
    assert (boxes.info.targets, boxes.info.target_shape) == ("boxes", (4, 5))


def test_odd_sizes_are_refused() -> None:
    with pytest.raises(DataError, match=r"data\.size is 33; allowed: even"):
        shapes(size=33)
