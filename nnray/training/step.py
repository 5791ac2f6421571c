"""One optimizer step, and the two seams of the loop.

A ``LossFn`` turns a batch into outputs and a loss: distillation and adversarial training are
other loss functions. A ``StepFn`` turns a batch into changed weights: DP-SGD is another step.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nnray.evaluation.evaluate import Precision, autocast
from nnray.tasks.task import Task
from nnray.training.batch_norm import uncounted
from nnray.training.regularization import add_l1
from nnray.training.state import TrainState

LossFn = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]
"""``(model, inputs, targets) -> (outputs, loss)``, the loss a mean over the batch."""

StepFn = Callable[..., tuple[Tensor, Tensor]]
"""``(state, inputs, targets, loss_fn) -> (outputs, loss)``, both detached and of this rank's examples.

Where there are several ranks, ``share`` says what this one's part of the batch weighs in the mean over them.
"""


def supervised(task: Task) -> LossFn:
    """The plain loss function: the task's loss of the model's outputs, or what the task has instead.

    A task that learns from inputs too, or asks the model more than once, has a ``loss_of`` of this form.
    """
    if (own := getattr(task, "loss_of", None)) is not None:
        loss_of: LossFn = own
        return loss_of

    def loss_fn(model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        outputs = model(inputs)
        return outputs, task.loss(outputs, targets)

    return loss_fn


def plain(task: Task) -> LossFn:
    """The task's own loss of the model's outputs for the batch as it is."""
    return supervised(task)


@dataclass(frozen=True, slots=True)
class GradientStep:
    """Forward, backward, and one step of the optimizer.

    Args:
        accumulate: Cut a batch into so many parts, to save memory. The gradient is that of the
            whole batch whatever the cut (but for batch norm, which sees the parts).
        max_grad_norm: Scale the gradient down to this norm.
        l1: Strength of the L1 penalty.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        device: Where the model is.
    """

    accumulate: int = 1
    max_grad_norm: float | None = None
    l1: float = 0.0
    precision: Precision = "fp32"
    device: torch.device = torch.device("cpu")

    def __call__(
        self, state: TrainState, inputs: Tensor, targets: Tensor, loss_fn: LossFn, *, share: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Take one step on a batch; the outputs and the mean loss come back detached."""
        made = self.learn(state, inputs, targets, loss_fn=loss_fn, share=share)
        self.count(state)
        return made

    def learn(
        self,
        state: TrainState,
        inputs: Tensor,
        targets: Tensor,
        *,
        loss_fn: LossFn,
        share: float = 1.0,
        keep: Callable[[nn.Module], None] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Change the weights by a batch, and count no step.

        Args:
            state: Changed in place.
            inputs: Of the batch.
            targets: Of the batch.
            loss_fn: What is learnt by.
            share: What this rank's part of the batch weighs.
            keep: Takes gradients away, of what is not to learn, before the optimizer looks at them.
        """
        if state.ranks.size == 1:
            made = self._backward(state, inputs, targets, loss_fn)
        else:
            made = self._backward_shared(state, inputs, targets, loss_fn, share)
        if keep is not None:
            keep(state.model)
        self._update(state)
        state.optimizer.zero_grad(set_to_none=True)
        return made

    @staticmethod
    def count(state: TrainState) -> None:
        """Count a step: the schedule goes on, and so does the average of the weights."""
        state.schedule.step()
        state.step += 1
        if state.average is not None:
            state.average.update_parameters(state.model)

    def _backward(
        self, state: TrainState, inputs: Tensor, targets: Tensor, loss_fn: LossFn
    ) -> tuple[Tensor, Tensor]:
        if self.accumulate == 1:
            return self._backward_part(state, inputs, targets, loss_fn, 1.0)
        parts = list(zip(inputs.chunk(self.accumulate), targets.chunk(self.accumulate), strict=True))
        done = [self._backward_part(state, x, y, loss_fn, len(y) / len(targets)) for x, y in parts]
        outputs, losses = zip(*done, strict=True)
        return torch.cat(outputs), torch.stack(losses).sum()

    def _backward_part(
        self, state: TrainState, inputs: Tensor, targets: Tensor, loss_fn: LossFn, share: float
    ) -> tuple[Tensor, Tensor]:
        with autocast(self.device, self.precision):
            outputs, loss = loss_fn(state.trained, inputs, targets)
        if share != 1.0:
            loss = loss * share
        scaled = loss if state.scaler is None else state.scaler.scale(loss)
        scaled.backward()  # type: ignore[no-untyped-call]
        return outputs.detach(), loss.detach()

    def _backward_shared(
        self, state: TrainState, inputs: Tensor, targets: Tensor, loss_fn: LossFn, share: float
    ) -> tuple[Tensor, Tensor]:
        """As many passes on every rank, whatever its part: some layers wait for each other in them."""
        cuts = zip(inputs.tensor_split(self.accumulate), targets.tensor_split(self.accumulate), strict=True)
        outputs, loss = [], torch.zeros((), device=self.device)
        for number, (x, y) in enumerate(cuts, start=1):
            waits = number < self.accumulate and state.replica is not None
            with state.replica.no_sync() if waits and state.replica else nullcontext():
                if not len(y):
                    self._take_part(state, inputs[:1])
                    continue
                of_own = len(y) / len(targets)
                made, mean = self._backward_part(state, x, y, loss_fn, share * of_own)
            outputs.append(made)
            loss = loss + mean.float() / share
        return torch.cat(outputs) if outputs else inputs.new_empty(0, 0), loss

    def _take_part(self, state: TrainState, inputs: Tensor) -> None:
        """A pass that adds nothing to the gradient, for the ranks that have examples."""
        inputs = inputs if len(inputs) else inputs.new_zeros(1, *inputs.shape[1:])
        with uncounted(state.model), autocast(self.device, self.precision):
            loss = (state.trained(inputs) * 0).sum()
        (loss if state.scaler is None else state.scaler.scale(loss)).backward()

    def _update(self, state: TrainState) -> None:
        if state.scaler is not None and (self.l1 or self.max_grad_norm is not None):
            state.scaler.unscale_(state.optimizer)  # type: ignore[arg-type]
        if self.l1:
            add_l1(state.model, self.l1)
        if self.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(state.model.parameters(), self.max_grad_norm)
        if state.scaler is None:
            state.optimizer.step()
        else:
            state.scaler.step(state.optimizer)  # type: ignore[arg-type]
            state.scaler.update()
