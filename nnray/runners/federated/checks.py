"""What can be known to be wrong with a setting before a run of it is recorded."""

from __future__ import annotations

import torch

from nnray.assembly import build_task
from nnray.data.batches import as_float
from nnray.errors import ConfigError, Problem
from nnray.evaluation.evaluate import evaluate
from nnray.federated.fairness import spread
from nnray.federated.strategy import Strategy, has_common, has_personal
from nnray.runners.federated.setting import Setting, build_flat, client_lrs, strategy_of

_OF_EVERY_ROUND = ("train_loss",)


def require_possible(setting: Setting) -> None:
    """See that rounds have a learning rate, that the strategy fits the model, and the target is measured.

    Raises:
        ConfigError: They don't.
    """
    client_lrs(setting)
    strategy, target = strategy_of(setting), setting.federated.target
    if target is None:
        return
    measured = sorted({*_OF_EVERY_ROUND, *_measured(setting, strategy)})
    if target.metric not in measured:
        message = f"{target.metric!r} is not measured here; there are: {', '.join(measured)}"
        raise ConfigError(setting.experiment.name, [Problem("federated.target.metric", message)])


def _measured(setting: Setting, strategy: Strategy) -> set[str]:
    """Names of what is measured where rounds are evaluated."""
    task = build_task(setting.experiment, setting.info)
    few = setting.train.take(torch.arange(min(2, len(setting.train))))
    sums = evaluate(build_flat(setting).module, [(as_float(few.inputs), few.targets)], task)
    names, found = set(task.summarize(sums)), set[str]()
    for split in setting.splits:
        found |= {f"{split}_{name}" for name in names}
    if setting.held is not None:
        name = "accuracy" if "accuracy" in names else "loss"
        found |= {f"client_{name}" for name in names} | {f"client_{name}_{kind}" for kind in spread([0.0])}
        if has_personal(strategy) and has_common(strategy):
            found |= {f"client_{name}_global" for name in names}
    return found
