"""A task of a user's that shows something after every epoch, and one that shows nonsense."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.tasks.classification import classification
from nnray.tasks.exhibit import Curves, Exhibit, Passage, Picture, Points


class Showing:
    """Classification with something to see.

    Args:
        info: Of the data.
        nonsense: Show what is no exhibit.
    """

    shown_each_epoch = True

    def __init__(self, info: DataInfo, *, nonsense: bool) -> None:
        self._info, self._nonsense, self._task = info, nonsense, classification(info)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def exhibits(
        self, model: nn.Module, inputs: Tensor, targets: Tensor, *, seed: int
    ) -> Mapping[str, Exhibit]:
        assert not model.training and not torch.is_grad_enabled()
        outputs = model(inputs)
        drawn = torch.randn(2).tolist()
        if self._nonsense:
            return {"accuracy": 0.5}  # type: ignore[dict-item]
        return {
            "first": Picture(inputs[0]),
            "words": Passage(f"{len(inputs)} examples, seed {seed}, drawn {drawn}"),
            "scores": Curves({"$first$": outputs[0], "second": outputs[1]}, x="class", y="score"),
            "map": Points(outputs[:, :2], targets, self._info.classes, x="score of 0", y="score of 1"),
        }


def showing(info: DataInfo, *, nonsense: bool = False) -> Showing:
    """Classification that shows pictures, words, curves and points.

    Args:
        nonsense: Show what is no exhibit.
    """
    return Showing(info, nonsense=nonsense)
