"""Fine-tuning that keeps zeros where they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nnray.training.state import TrainState
from nnray.training.step import LossFn, StepFn


@dataclass(frozen=True, slots=True)
class SparseStep:
    """A step, after which some weights are zero.

    Args:
        inner: The step, of one process.
        masks: Where weights may differ from zero, by parameter; as ``layers.zero_masks`` gives them.
    """

    inner: StepFn
    masks: Mapping[str, Tensor]

    def __call__(
        self, state: TrainState, inputs: Tensor, targets: Tensor, loss_fn: LossFn
    ) -> tuple[Tensor, Tensor]:
        """Take the step; then put the zeros back."""
        made = self.inner(state, inputs, targets, loss_fn)
        with torch.no_grad():
            for name, mask in self.masks.items():
                state.model.get_parameter(name).mul_(mask)
        return made
