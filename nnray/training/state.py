"""All that training changes, in one place: what a checkpoint must hold, and nothing else.

Random numbers need no place here: every draw is seeded by the epoch that it belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nnray.training.early_stopping import BestEpoch
from nnray.training.ranks import ALONE, Ranks

_DECIDE_MOMENTS = ("amsgrad", "centered", "momentum")
"""Options of torch's optimizers that decide which tensors are kept for a parameter."""

_KERNELS = ("fused", "foreach")
"""Options that decide how a step is computed, and nothing of what it is."""


class Stateful(Protocol):
    """Anything that can be saved and brought back."""

    def state_dict(self) -> dict[str, Any]:
        """Plain containers of tensors and numbers."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Go back to where that was taken."""


class Optimizer(Stateful, Protocol):
    """What the loop asks of an optimizer; every ``torch.optim.Optimizer`` has it."""

    param_groups: list[dict[str, Any]]

    def step(self) -> Any:
        """Change the parameters by their gradients."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""


class Schedule(Stateful, Protocol):
    """A learning rate that changes with each optimizer step."""

    @property
    def lr(self) -> float:
        """Of the next step."""

    def step(self) -> None:
        """Called after every optimizer step."""

    def epoch_end(self, val_loss: float) -> None:
        """Called after every epoch."""


@dataclass(slots=True)
class TrainState:
    """A model in training.

    Args:
        model: What is trained.
        optimizer: Changes its parameters.
        schedule: Sets the optimizer's learning rate.
        average: Exponential moving average of the weights, where it is asked for.
        scaler: Scales the loss for fp16.
        best: The best epoch so far.
        epoch: Epochs finished.
        step: Optimizer steps taken.
        ranks: The processes that train it together; each holds such a state.
        is_sharded: Whether parameters and moments are cut among the ranks.
        replica: The model wrapped so that a backward pass averages the gradients over the ranks.
    """

    model: nn.Module
    optimizer: Optimizer
    schedule: Schedule
    average: AveragedModel | None = None
    scaler: torch.amp.GradScaler | None = None
    best: BestEpoch = field(default_factory=BestEpoch)
    epoch: int = 0
    step: int = 0
    ranks: Ranks = ALONE
    is_sharded: bool = False
    replica: DistributedDataParallel | None = None

    @property
    def trained(self) -> nn.Module:
        """What a training batch goes through; the same parameters as ``model``."""
        return self.model if self.replica is None else self.replica

    @property
    def evaluated(self) -> nn.Module:
        """The model that is measured and saved: the averaged weights where there are some."""
        return self.model if self.average is None else self.average.module

    def _parts(self) -> dict[str, Stateful]:
        parts: dict[str, Stateful | None] = {
            "model": self.model,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "average": self.average,
            "scaler": self.scaler,
            "best": self.best,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def state_dict(self) -> dict[str, Any]:
        """Everything, as plain containers of tensors and numbers, the same for any number of ranks.

        Where the model is cut among ranks, each calls this, and whole tensors come back on rank 0 alone.
        """
        parts: dict[str, Any] = {name: dict(part.state_dict()) for name, part in self._parts().items()}
        if self.is_sharded:
            from nnray.training.sharding import gathered  # takes a second to import

            parts = gathered(parts, keep=self.ranks.rank == 0)
        return {**parts, "epoch": self.epoch, "step": self.step}

    def load_state_dict(self, saved: Mapping[str, Any], *, steps: int | None = None) -> None:
        """Go back to where ``saved`` was taken, by whatever number of ranks; each rank calls this.

        Args:
            saved: What ``state_dict`` gave on rank 0.
            steps: Where the schedule stands, in this one's own steps, if its batches may be larger.
        """
        saved = {**saved, "optimizer": _with_kernels_of(self.optimizer, saved["optimizer"])}
        if steps is not None and "steps" in saved["schedule"]:
            saved["schedule"] = {**saved["schedule"], "steps": steps}
        for name, part in self._parts().items():
            part.load_state_dict(self._cut(name, saved[name], part) if self.is_sharded else saved[name])
        self.epoch, self.step = saved["epoch"], saved["step"]

    def _cut(self, name: str, saved: dict[str, Any], part: Stateful) -> dict[str, Any]:
        from nnray.training.sharding import scattered, scattered_moments

        if name == "optimizer":
            return scattered_moments(saved, self.optimizer.param_groups)
        return scattered(saved, part.state_dict()) if name in ("model", "average") else saved

    def share_buffers(self) -> None:
        """Give every rank the buffers of rank 0, such as batch norm's running statistics."""
        averaged = [] if self.average is None else list(self.evaluated.buffers())
        self.ranks.broadcast([*self.model.buffers(), *averaged])

    def adopt(self, saved: Mapping[str, Any], *, steps: int) -> None:
        """Go on from the state of another training, with this one's own hyperparameters.

        Taken are weights, moments, counters and the best epoch. What this one has and the other has
        not, such as an average of the weights, begins here. An optimizer's moments are left behind
        where an option has changed that decides which of them there are.

        Args:
            saved: The other's state; same model, same kind of optimizer.
            steps: Where the schedule stands; in this one's own steps, for its batches may be larger.
        """
        own = self.state_dict()
        optimizer = dict(saved["optimizer"])
        if "param_groups" in own["optimizer"]:
            if not _same_moments(own["optimizer"]["param_groups"], optimizer["param_groups"]):
                optimizer["state"] = {}
            optimizer["param_groups"] = own["optimizer"]["param_groups"]
        self.load_state_dict({**own, **saved, "optimizer": optimizer}, steps=steps)


def _with_kernels_of(optimizer: Optimizer, saved: dict[str, Any]) -> dict[str, Any]:
    """A saved state with this one's kernels: the number of ranks decides which can be used."""
    if "param_groups" not in saved:
        return saved
    groups = [
        {**group, **{name: own[name] for name in _KERNELS if name in own}}
        for group, own in zip(saved["param_groups"], optimizer.param_groups, strict=True)
    ]
    return {**saved, "param_groups": groups}


def _same_moments(groups: list[dict[str, Any]], others: list[dict[str, Any]]) -> bool:
    """Whether optimizers with these groups keep the same for each parameter."""
    return all(
        bool(group.get(option)) == bool(other.get(option))
        for group, other in zip(groups, others, strict=True)
        for option in _DECIDE_MOMENTS
    )


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of a model's weights; buffers are copied over.

    Source: Polyak and Juditsky 1992; the exponential form as in torch's ``swa_utils``.
    """
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=average, use_buffers=False)
