"""Search an experiment's space: Ray Tune runs the trials, Optuna proposes, MLflow has the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnray.runners.sweep.result import SweepResult
    from nnray.runners.sweep.start import sweep

__all__ = ["SweepResult", "sweep"]


def __getattr__(name: str) -> Any:
    """Import on demand: the plug-ins in this package need nothing heavy."""
    if name == "sweep":
        from nnray.runners.sweep.start import sweep

        return sweep
    if name == "SweepResult":
        from nnray.runners.sweep.result import SweepResult

        return SweepResult
    raise AttributeError(name)
