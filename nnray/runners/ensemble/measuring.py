"""Members and ensemble on a split: every batch goes once through each member."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nnray.errors import DataError
from nnray.metrics import MetricSums, to_sums
from nnray.models.ensemble import Ensemble
from nnray.tasks.task import Task

Pairs = Iterable[tuple[Tensor, Tensor]]
Metrics = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Answers:
    """What members say of a split.

    Args:
        logp: ``[M, N, K]`` log-probabilities.
        targets: ``[N]`` labels.
    """

    logp: Tensor
    targets: Tensor


@torch.no_grad()
def ask(
    modules: Sequence[nn.Module], batches: Pairs, *, names: Sequence[str], device: torch.device
) -> Answers:
    """Collect what members say; it is kept in memory, on the CPU.

    Raises:
        DataError: A member's outputs are not finite.
    """
    ensemble = Ensemble([module.to(device) for module in modules], {"name": "mean"}).eval()
    logp, targets = list[Tensor](), list[Tensor]()
    for inputs, labels in batches:
        logp.append(ensemble.log_probabilities(inputs).cpu())
        targets.append(labels.cpu())
    found = Answers(torch.cat(logp, 1), torch.cat(targets))
    broken = [name for name, said in zip(names, found.logp, strict=True) if said.isnan().any()]
    if broken:
        raise DataError(f"outputs that are not numbers from {', '.join(broken)}: leave them out")
    return found


def metrics_of(logp_NK: Tensor, targets_N: Tensor, *, task: Task) -> dict[str, float]:
    """The task's metrics of log-probabilities."""
    sums = task.eval_sums(logp_NK.float(), targets_N)
    return task.summarize(to_sums({name: value.cpu() for name, value in sums.items()}, len(targets_N)))


@torch.no_grad()
def measure(
    answers: Callable[[Tensor], Sequence[Tensor]], batches: Pairs, *, task: Task
) -> list[dict[str, float]]:
    """The task's metrics of each answer, in one pass that keeps no outputs.

    Args:
        answers: Outputs of a batch: of each member, then of the ensemble.
        batches: On the device of the modules.
        task: What to measure.
    """
    totals, compares = list[MetricSums](), getattr(task, "needs_inputs", False)
    for inputs, targets in batches:
        seen = {"inputs": inputs} if compares else {}
        sums = [task.eval_sums(outputs, targets, **seen) for outputs in answers(inputs)]
        parts = [to_sums({k: v.cpu() for k, v in each.items()}, len(targets)) for each in sums]
        totals = [a + b for a, b in zip(totals, parts, strict=True)] if totals else parts
    return [task.summarize(total) for total in totals]


def answers_of(module: nn.Module, members: Sequence[nn.Module]) -> Callable[[Tensor], list[Tensor]]:
    """Outputs of each member, then of what was made of them; an ensemble asks its members once."""

    def ensemble(inputs: Tensor) -> list[Tensor]:
        assert isinstance(module, Ensemble)
        logp_MBK = module.log_probabilities(inputs)
        return [*logp_MBK, module.combine(logp_MBK)]

    def soup(inputs: Tensor) -> list[Tensor]:
        return [each(inputs) for each in (*members, module)]

    return ensemble if isinstance(module, Ensemble) else soup
