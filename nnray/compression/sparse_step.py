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
        inner: The step.
        masks: Where weights may differ from zero, by parameter; as ``layers.zero_masks`` gives them.
    """

    inner: StepFn
    masks: Mapping[str, Tensor]

    def __call__(
        self, state: TrainState, inputs: Tensor, targets: Tensor, loss_fn: LossFn, *, share: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Take the step; then put the zeros back."""
        extra = {} if state.ranks.size == 1 else {"share": share}
        made = self.inner(state, inputs, targets, loss_fn, **extra)
        models = [state.model] if state.average is None else [state.model, state.evaluated]
        with torch.no_grad():
            for model in models:
                for name, mask in self.masks.items():
                    model.get_parameter(name).mul_(mask)
        return made
