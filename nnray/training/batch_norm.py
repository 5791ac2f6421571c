"""Batch norm by the statistics of the whole batch where several ranks hold its parts.

torch's SyncBatchNorm runs on GPUs only. This one is written with collectives that autograd passes
through, so it is the same on a CPU, where tests can hold it against one process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from nnray.training.ranks import Ranks


class _Sum(torch.autograd.Function):
    """The sum over ranks; the gradient of a rank's summand is the sum of all ranks' gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.sum(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.ranks.sum(gradient), None


class SyncedBatchNorm(_BatchNorm):
    """A batch norm that adds up its sums over all ranks in training; else as any other.

    Args:
        num_features: Channels.
        ranks: Who holds the parts of a batch.
        eps, momentum, affine, track_running_stats: As for torch's.

    Source:
        Ioffe and Szegedy 2015; the variance is taken around the common mean, in a second sum.
    """

    def __init__(self, num_features: int, *, ranks: Ranks, **options: object) -> None:
        super().__init__(num_features, **options)  # type: ignore[arg-type]
        self.ranks = ranks
        self.counts = True

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 (torch's name)
        """Any input with channels will do."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        """Normalise; a lone value of a channel by what was seen before, as it has no variance."""
        if not self.training:
            return super().forward(input)
        x = input.float()
        axes = [axis for axis in range(x.ndim) if axis != 1]
        weight = 1.0 if self.counts else 0.0
        count_1 = torch.full((1,), weight * x.numel() / x.shape[1], device=x.device)
        sums_C1 = self._summed(torch.cat([x.sum(axes) * weight, count_1]))
        mean_C, count = sums_C1[:-1] / sums_C1[-1], float(sums_C1[-1].detach())
        if count == 1 and self.running_mean is not None:
            return self._by_running(input)
        centred = x - _channels(mean_C, x)
        var_C = self._summed(centred.square().sum(axes) * weight) / count
        self._track(mean_C.detach(), var_C.detach() * count / max(count - 1, 1))
        normal = centred * _channels((var_C + self.eps).rsqrt(), x)
        if self.affine:
            normal = normal * _channels(self.weight, x) + _channels(self.bias, x)
        return normal.to(input.dtype)

    def _summed(self, values: Tensor) -> Tensor:
        total: Tensor = _Sum.apply(values, self.ranks)
        return total

    def _by_running(self, x: Tensor) -> Tensor:
        return functional.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )

    @torch.no_grad()
    def _track(self, mean_C: Tensor, var_C: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        factor = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean_C.to(self.running_mean.dtype), factor)
        self.running_var.lerp_(var_C.to(self.running_var.dtype), factor)


def _channels(values_C: Tensor, x: Tensor) -> Tensor:
    return values_C.view(1, -1, *[1] * (x.ndim - 2))


def synced(module: nn.Module, ranks: Ranks) -> nn.Module:
    """The module with every batch norm in it replaced by one over all ranks; weights and keys stay."""
    if isinstance(module, _BatchNorm):
        return _replaced(module, ranks)
    for name, child in module.named_children():
        setattr(module, name, synced(child, ranks))
    return module


def _replaced(norm: _BatchNorm, ranks: Ranks) -> SyncedBatchNorm:
    made = SyncedBatchNorm(
        norm.num_features,
        ranks=ranks,
        eps=norm.eps,
        momentum=norm.momentum,
        affine=norm.affine,
        track_running_stats=norm.track_running_stats,
    )
    made.load_state_dict(norm.state_dict())
    return made.to(next(iter(norm.state_dict().values())).device) if norm.state_dict() else made


@contextmanager
def uncounted(model: nn.Module) -> Iterator[None]:
    """Inside the block, synced batch norms leave this rank's examples out of the statistics."""
    norms = [module for module in model.modules() if isinstance(module, SyncedBatchNorm)]
    for norm in norms:
        norm.counts = False
    try:
        yield
    finally:
        for norm in norms:
            norm.counts = True
