"""Detectors of torchvision's on a small backbone: where the objects are, as one padded tensor.

torchvision's detectors take lists and dictionaries, and give losses in training and boxes in evaluation.
Behind this wrapper inputs, targets and outputs are tensors. Its first import of torchvision takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.errors import DataError
from nnray.fields import PositiveInt, Probability
from nnray.models.layers import dropout_layer, image_shape
from nnray.models.unet import double_convolution

if TYPE_CHECKING:
    from torchvision.models.detection.anchor_utils import AnchorGenerator

_SHARES = (0.15, 0.25, 0.4)
"""Sides of RetinaNet's anchors, as shares of the shorter side of the image."""


def detector(
    info: DataInfo,
    *,
    arch: Literal["fcos", "retinanet"] = "fcos",
    channels: Sequence[PositiveInt] = (16, 32, 64),
    dropout: Probability = 0.0,
    norm: Literal["batch", "group"] = "group",
    max_detections: PositiveInt = 20,
    min_score: Probability = 0.05,
    max_overlap: Probability = 0.5,
) -> nn.Module:
    """A one-stage detector of torchvision's over a few convolutions; for the task detection.

    Args:
        arch: fcos tells boxes from points, retinanet from anchors of three sizes and three ratios.
        channels: Of the backbone's maps, each half as large as the one before; the last a multiple of 32.
        dropout: Share of values dropped in the last maps.
        norm: After each convolution of the backbone.
        max_detections: Boxes an image that are given, the surest.
        min_score: Boxes with a lower score are left out.
        max_overlap: Of boxes of a class that overlap by a higher IoU only the surest is given.

    Raises:
        DataError: The inputs are no images, too small, or their targets no boxes.

    Source:
        Tian et al., FCOS, 2019; Lin et al., Focal Loss for Dense Object Detection, 2017; as in torchvision.
    """
    depth, height, width = image_shape(info, "detector", smallest=4 * 2 ** (len(channels) - 1))
    if info.targets != "boxes":
        raise DataError(
            f"model detector gives boxes, data set {info.name} has targets of kind {info.targets}: use a "
            "data set with boxes, such as shapes with data.kind=boxes"
        )
    if not channels or channels[-1] % 32:
        raise DataError(f"model.channels is {list(channels)}; the last must be a multiple of 32")
    backbone = _Backbone((depth, *channels), dropout=dropout, norm=norm)
    build = _fcos if arch == "fcos" else _retinanet
    settings = {
        "min_size": min(height, width),
        "max_size": max(height, width),
        "image_mean": [0.0] * depth,
        "image_std": [1.0] * depth,
        "size_divisible": backbone.stride,
        "detections_per_img": max_detections,
        "score_thresh": min_score,
        "nms_thresh": max_overlap,
    }
    net = build(backbone, info.num_classes, settings)
    return Detector(net, max_detections=max_detections)


class Detector(nn.Module):
    """A detector of torchvision's that gives tensors; made by `detector`.

    ``expected`` is what the task hands in for a step of training: the boxes to learn, ``[B, T, 5]``, as in a
    data set; None for none at all.

    Args:
        net: Takes images and, in training, targets.
        max_detections: Boxes an image, filled up with class -1.

    Shape:
        inputs: ``[B, C, H, W]``.
        outputs: ``[B, M, 6]``: class, corners (x1, y1, x2, y2) and score, the surest first, class -1 where
            there are fewer than M; in training the net's losses ``[L]``.
    """

    def __init__(self, net: nn.Module, *, max_detections: int) -> None:
        super().__init__()
        self.net, self.max_detections = net, max_detections
        self.expected: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Boxes, or in training the losses."""
        if self.training:
            losses = self.net(list(x), _wanted(self.expected, x))
            return torch.stack(list(losses.values()))
        return torch.stack([_filled_up(found, x, count=self.max_detections) for found in self.net(list(x))])


def _filled_up(found: Mapping[str, Tensor], x: Tensor, *, count: int) -> Tensor:
    """An image's boxes ``[M, 6]``, the surest first, class -1 where there are no more."""
    columns = (found["labels"][:, None], found["boxes"], found["scores"][:, None])
    boxes = torch.cat([column.to(x.dtype) for column in columns], 1)
    boxes = boxes[boxes[:, 5].argsort(descending=True, stable=True)]
    none = boxes.new_tensor([-1.0, 0, 0, 0, 0, 0]).expand(count - len(boxes), -1)
    return torch.cat([boxes, none])


class _Backbone(nn.Module):
    """Double convolutions, the maps halved after each but the last."""

    def __init__(self, channels: Sequence[int], *, dropout: float, norm: str) -> None:
        super().__init__()
        pairs = list(pairwise(channels))
        self.blocks = nn.ModuleList(double_convolution(a, b, activation="relu", norm=norm) for a, b in pairs)
        self.pool, self.dropout = nn.MaxPool2d(2), dropout_layer(dropout)
        self.out_channels, self.stride = channels[-1], 2 ** (len(pairs) - 1)

    def forward(self, x: Tensor) -> Tensor:
        for number, block in enumerate(self.blocks):
            x = block(self.pool(x) if number else x)
        return self.dropout(x)  # type: ignore[no-any-return]


def _wanted(expected: Tensor | None, x: Tensor) -> list[dict[str, Tensor]]:
    """Targets as torchvision takes them."""
    boxes = x.new_zeros(len(x), 0, 5) if expected is None else expected
    there = [rows[rows[:, 0] >= 0] for rows in boxes]
    return [{"labels": rows[:, 0].long(), "boxes": rows[:, 1:]} for rows in there]


def _fcos(backbone: _Backbone, num_classes: int, settings: dict[str, object]) -> nn.Module:
    from torchvision.models.detection.fcos import FCOS, FCOSHead

    head = FCOSHead(backbone.out_channels, 1, num_classes, num_convs=2)
    anchors = _anchors([backbone.stride], ratios=(1.0,))
    net: nn.Module = FCOS(backbone, num_classes, anchor_generator=anchors, head=head, **settings)
    return net


def _retinanet(backbone: _Backbone, num_classes: int, settings: dict[str, object]) -> nn.Module:
    from torchvision.models.detection.retinanet import RetinaNet, RetinaNetHead

    side = settings["min_size"]
    assert isinstance(side, int)
    anchors = _anchors([max(1, round(share * side)) for share in _SHARES], ratios=(0.5, 1.0, 2.0))
    count = anchors.num_anchors_per_location()[0]
    # As torchvision's second version: without norms the towers learn next to nothing from scratch.
    norm = partial(nn.GroupNorm, 32)
    head = RetinaNetHead(backbone.out_channels, count, num_classes, norm_layer=norm)
    net: nn.Module = RetinaNet(backbone, num_classes, anchor_generator=anchors, head=head, **settings)
    return net


def _anchors(sizes: Sequence[int], *, ratios: tuple[float, ...]) -> AnchorGenerator:
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    return AnchorGenerator((tuple(sizes),), (ratios,))
