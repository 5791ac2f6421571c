"""What is measured of a round: the weights on the server's splits, on clients' own parts, and how it went."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from nnray.assembly import build_task
from nnray.federated.fairness import spread
from nnray.federated.rounds import RoundReport
from nnray.federated.strategy import Strategy, has_common, has_personal
from nnray.federated.virtual.report import TimedReport
from nnray.federated.weights import Weights
from nnray.metrics import merge, mode_of
from nnray.runners.federated.crew import Crew, States
from nnray.runners.federated.setting import Setting


def evaluated(
    crew: Crew, setting: Setting, *, strategy: Strategy, weights: Weights, states: States
) -> dict[str, float]:
    """Measure weights everywhere; personal ones of each client on every split, all clients counted alike.

    On what a client holds out its own weights are measured, where it has some, and beside them the server's.
    """
    began = time.perf_counter()
    task, metrics = build_task(setting.experiment, setting.info), dict[str, float]()
    personal = not has_common(strategy)
    for split in setting.splits:
        if personal and not states:
            continue
        sums = crew.evaluate_personal(weights, split, states) if personal else crew.evaluate(weights, split)
        metrics |= {f"{split}_{name}": value for name, value in task.summarize(sums).items()}
    if setting.held is not None:
        parts = [sums for _, sums in crew.evaluate_clients(weights, states)]
        pooled = task.summarize(merge(parts))
        metrics |= {f"client_{name}": value for name, value in pooled.items()}
        name = "accuracy" if "accuracy" in pooled else "loss"
        values = [task.summarize(part)[name] for part in parts]
        over = spread(values, higher_is_better=mode_of(name) == "max")
        metrics |= {f"client_{name}_{kind}": value for kind, value in over.items()}
        if has_personal(strategy) and not personal:
            common = merge([sums for _, sums in crew.evaluate_clients(weights, {})])
            metrics |= {f"client_{name}_global": value for name, value in task.summarize(common).items()}
    return metrics | {"evaluate_seconds": time.perf_counter() - began}


def told(report: RoundReport, *, lr: float) -> dict[str, float]:
    """How a round went."""
    steps = sum(client.num_steps for client in report.reports)
    losses = [client.loss * client.num_steps for client in report.reports]
    examples = sum(client.num_examples for client in report.reports)
    failed = {fault.failed.client for fault in report.faults}
    metrics: Mapping[str, float] = {
        "train_loss": math.fsum(losses) / steps if steps else math.nan,
        "lr": lr,
        "cohort": len(report.cohort.chosen),
        "updates": len(report.reports),
        "failures": len(failed),
        "client_steps": steps,
        "examples": examples,
        "bytes_down": report.bytes_down,
        "bytes_up": report.bytes_up,
        "train_seconds": report.seconds,
    }
    if isinstance(report, TimedReport):
        metrics = {**metrics, **report.metrics()}
    return {name: float(value) for name, value in metrics.items() if not math.isnan(value)}


def private_part(metrics: Mapping[str, float], setting: Setting, *, number: int) -> dict[str, float]:
    """What may be told of a round, and what it has spent of its clients' privacy.

    Args:
        metrics: Of the round.
        setting: Of the run.
        number: Of the round.
    """
    privacy, guarantee = setting.experiment.privacy, setting.guarantee
    told_of = dict(metrics)
    if privacy is not None and privacy.metrics == "withheld":
        told_of = {
            name: value for name, value in metrics.items() if not name.startswith(("train_loss", "client_"))
        }
    if guarantee is not None:
        told_of["epsilon"] = guarantee.epsilon(number)
    return told_of
