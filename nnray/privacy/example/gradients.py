"""The gradient of each example, clipped, and their sum.

Opacus' hooks compute them layer by layer, from what goes in and what comes back; torch.func does it for
layers that Opacus has no formula for. A loop over single examples is their oracle in the tests, and
`nnray.privacy.example.probe` tries every model before it is trained.

Shapes: B examples at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nnray.privacy.example.samples import Dense, Outer, Samples
from nnray.training.step import LossFn


class ExampleGradients:
    """The gradients of single examples, with respect to all parameters of a model.

    Args:
        model: Hooks are put on its modules; they rest while it is evaluated.
        clip_norm: Longest gradient of an example, over all parameters together.
        at_once: Examples whose gradients are held at a time.
    """

    def __init__(self, model: nn.Module, *, clip_norm: float, at_once: int) -> None:
        from nnray.privacy.example.hooks import OutputHooks  # takes a second or two

        assert clip_norm > 0 and at_once > 0, (clip_norm, at_once)
        for module in model.modules():
            if hasattr(module, "inplace"):
                vars(module)["inplace"] = False  # what a layer was given must not change after it
        self.model, self._clip_norm, self._at_once = model, clip_norm, at_once
        self.parameters = [param for param in model.parameters() if param.requires_grad]
        self._hooks = OutputHooks(model)

    def close(self) -> None:
        """Take the hooks off."""
        self._hooks.cleanup()

    def clipped_sum(
        self, loss_fn: LossFn, inputs: Tensor, *, targets: Tensor
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """The sum of a batch's clipped gradients.

        Args:
            loss_fn: Gives outputs and the mean of the examples' losses.
            inputs: Of the batch, which may be empty.
            targets: Likewise.

        Returns:
            A sum for each parameter, the outputs, and the mean loss: 0 of an empty batch.
        """
        total = [torch.zeros_like(param) for param in self.parameters]
        outputs: list[Tensor] = []
        loss = inputs.new_zeros((), dtype=torch.float32)
        for start in range(0, len(targets), self._at_once):
            x, y = inputs[start : start + self._at_once], targets[start : start + self._at_once]
            made, mean = self._backward(loss_fn, x, targets=y)
            self._add_clipped(total)
            outputs.append(made)
            loss = loss + mean.float() * (len(y) / len(targets))
        return total, torch.cat(outputs) if outputs else inputs.new_empty(0, 0), loss

    def single(self, loss_fn: LossFn, inputs: Tensor, *, targets: Tensor) -> list[Tensor]:
        """The gradient of each example, as it is.

        Shape:
            returns: for each parameter ``[B, ...]``.
        """
        self._backward(loss_fn, inputs, targets=targets)
        pairs = zip(self.parameters, self._taken(), strict=True)
        return [p.new_zeros(len(targets), *p.shape) if s is None else s.dense() for p, s in pairs]

    def _backward(self, loss_fn: LossFn, inputs: Tensor, *, targets: Tensor) -> tuple[Tensor, Tensor]:
        outputs, loss = loss_fn(self.model, inputs, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        return outputs.detach(), loss.detach()

    def _taken(self) -> list[Samples | None]:
        """What the hooks have left at the parameters, which are then clean; None at one that has no part."""
        taken: list[Samples | None] = []
        for param in self.parameters:
            found: Tensor | Outer | None = param.grad_sample  # type: ignore[attr-defined]
            # A gradient that came past the hooks would be one that nobody clips.
            assert (found is None) == (param.grad is None), tuple(param.shape)
            taken.append(Dense(found) if isinstance(found, Tensor) else found)
            param.grad_sample = param.grad = None  # type: ignore[attr-defined]
        return taken

    def _add_clipped(self, total: Sequence[Tensor]) -> None:
        taken = self._taken()
        factors_B = clip_factors([samples for samples in taken if samples is not None], self._clip_norm)
        for sum_, samples in zip(total, taken, strict=True):
            if samples is not None:
                sum_.add_(samples.weighted_sum(factors_B))


def clip_factors(samples: Sequence[Samples], clip_norm: float) -> Tensor:
    """What each example's gradient is multiplied by, so that it is no longer than ``clip_norm``.

    A zero gradient stays zero.

    Args:
        samples: For each parameter.
        clip_norm: Longest gradient, over all parameters together.

    Shape:
        returns: ``[B]``.
    """
    squares_B = torch.stack([part.squares() for part in samples]).sum(0)
    # A hair below, so that rounding leaves nothing longer than it may be.
    return (clip_norm * (1 - 1e-6) / squares_B.sqrt().clamp(min=1e-30)).clamp(max=1.0)
