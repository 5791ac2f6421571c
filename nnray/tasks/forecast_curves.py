"""Forecasts as curves: a few windows beside what came and the naive forecast, and errors by step.

Legend: B examples, C channels, T steps of the past, D target channels, H steps to forecast.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nnray.seeding import torch_rng
from nnray.tasks.exhibit import Curves

_WINDOWS = 4
_HORIZONS = 3
"""How much of the past is shown, in lengths of the horizon."""


def shown_windows(count: int, *, seed: int) -> list[int]:
    """Which windows are shown, in their order.

    Args:
        count: Of all windows.
        seed: That they are drawn by.
    """
    drawn = torch.randperm(count, generator=torch_rng(seed, "exhibits", "windows"))[:_WINDOWS]
    return sorted(drawn.tolist())


def window_curves(
    outputs: Tensor, targets: Tensor, *, past: Tensor, naive: Tensor, season: int, channel: str
) -> Curves:
    """One channel of one window; steps are counted from the last one that is seen, which is 0.

    Args:
        outputs: The forecast.
        targets: What came.
        past: What was seen; its last season, and three lengths of the horizon, are shown.
        naive: The naive seasonal forecast.
        season: Its steps.
        channel: Name of what is forecast.

    Shape:
        outputs, targets, naive: ``[H]``.
        past: ``[T]``.
    """
    seen = past[-max(season, _HORIZONS * len(targets)) :].float().cpu()

    def after(values: Tensor) -> Tensor:
        return torch.cat([torch.full_like(seen, torch.nan), values.float().cpu()])

    lines = {"truth": torch.cat([seen, targets.float().cpu()])}
    lines |= {"forecast": after(outputs), "naive seasonal": after(naive)}
    return Curves(lines, x="step", y=channel, begin=1 - len(seen))


def curves_by_step(outputs: Tensor, targets: Tensor, *, naive: Tensor, unit: Tensor) -> Curves:
    """Mean absolute error of the forecast and of the naive one, by how far ahead they look.

    Args:
        outputs: Forecasts.
        targets: What came.
        naive: Naive seasonal forecasts.
        unit: Standard unit of each channel.

    Shape:
        outputs, targets, naive: ``[B, D, H]``.
        unit: ``[D, 1]``.
    """
    forecasts = {"forecast": outputs, "naive seasonal": naive}
    lines = {
        label: ((values - targets) / unit).abs().float().mean((0, 1)).cpu()
        for label, values in forecasts.items()
    }
    return Curves(lines, x="steps ahead", y="mean absolute error, standard units", begin=1)


def channel_names(features: Sequence[str], count: int) -> tuple[str, ...]:
    """What the first channels are called; by number where they have no names.

    Args:
        features: Names, if there are any.
        count: Of channels.
    """
    return tuple(features[:count]) or tuple(f"channel {number}" for number in range(count))
