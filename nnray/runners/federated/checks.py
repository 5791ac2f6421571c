"""What can be known to be wrong with a setting before a run of it is recorded."""

from __future__ import annotations

import torch

from nnray.assembly import build_task
from nnray.data.batches import as_float
from nnray.errors import ConfigError, IncompatibleModel, Problem
from nnray.evaluation.evaluate import evaluate
from nnray.federated.fairness import spread
from nnray.federated.strategy import Strategy, has_common, has_personal
from nnray.privacy.buffers import moving_buffers, require_still_buffers
from nnray.runners.federated.masking import require_maskable
from nnray.runners.federated.pacing import require_pace
from nnray.runners.federated.setting import Setting, build_flat, client_lrs, strategy_of
from nnray.runners.federated.wrapping import aggregator_of

_OF_EVERY_ROUND = ("train_loss",)


def require_possible(setting: Setting) -> None:
    """See that rounds have a learning rate, that the strategy fits the model, and the target is measured.

    Raises:
        ConfigError: They don't.
    """
    client_lrs(setting)
    strategy, target = strategy_of(setting), setting.federated.target
    require_pace(setting, strategy)
    _require_rule(setting)
    _require_still(setting)
    require_maskable(setting)
    if target is None:
        return
    of_every_round = () if setting.federated.secure is not None else _OF_EVERY_ROUND
    measured = sorted({*of_every_round, *_measured(setting, strategy)})
    if target.metric not in measured:
        message = f"{target.metric!r} is not measured here; there are: {', '.join(measured)}"
        raise ConfigError(setting.experiment.name, [Problem("federated.target.metric", message)])


def _require_rule(setting: Setting) -> None:
    """See that a cohort is large enough for a robust rule."""
    rule, federated = aggregator_of(setting), setting.federated
    if rule is None:
        return
    clients = len(setting.population)
    if rule.root is not None and rule.root >= clients:
        problem = f"its root_client must be below the number of clients, which is {clients} (got {rule.root})"
    else:
        problem = rule.problem(federated.cohort_of(clients)) or ""
    if problem:
        raise ConfigError(setting.experiment.name, [Problem("federated.aggregator", problem)])


def _require_still(setting: Setting) -> None:
    """See that nothing of clients goes past noise or a robust rule, in buffers that training changes."""
    few = as_float(setting.train.take(torch.arange(min(2, len(setting.train)))).inputs)
    module = build_flat(setting).module
    if setting.guarantee is not None:
        require_still_buffers(module, few)
    if aggregator_of(setting) is not None and (moving := moving_buffers(module, few)):
        advice = "take group norm, or another norm without buffers"
        named = [f"{name}: a buffer that is averaged past the rule" for name in moving]
        raise IncompatibleModel("federated.aggregator", named, advice)


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
