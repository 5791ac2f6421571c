"""What the processes of ``test_ranks`` do; a module of its own, for they import it by name."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Mapping
from typing import Any

import torch

from nnray.assembly import Assembly, assemble
from nnray.config import Experiment, parse, with_overrides
from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.errors import ClusterError, DivergedError
from nnray.metrics import MetricSums, to_sums
from nnray.seeding import torch_rng
from nnray.training.loop import Progress, fit
from nnray.training.ranks import Ranks, in_step

HANGS_S = 40.0
TIMED = ("samples_per_s", "epoch_seconds")
MLP = {"name": "mlp", "hidden": [12]}
CNN = {"name": "cnn", "channels": [4, 6], "hidden": 8, "dropout": 0.0, "dropout_head": 0.0}
BASE = {
    "name": "ranks",
    "data": {"name": "digits"},
    "model": MLP,
    "optimizer": {"name": "adam", "lr": 0.01},
    "schedule": {"name": "cosine"},
    "training": {"epochs": 3, "batch_size": 16, "eval_batch_size": 7, "device": "cpu"},
}


def experiment(**values: Any) -> Experiment:
    return with_overrides(parse(BASE), {path.replace("__", "."): value for path, value in values.items()})


def splits(*, train: int = 83, val: int = 29) -> DataSplits:
    """Pictures of noise with a bright spot for each class; the last batch of 16 is of 3."""
    rng = torch_rng(0, "pictures")
    targets = torch.randint(3, (train + val,), generator=rng)
    inputs = torch.rand(train + val, 1, 8, 8, generator=rng)
    inputs[torch.arange(train + val), 0, targets, targets] += 1.0
    info = DataInfo("spots", (1, 8, 8), ("a", "b", "c"), (0.5,), (0.3,))
    parts = [Examples(inputs[:train], targets[:train]), Examples(inputs[train:], targets[train:])]
    return DataSplits(parts[0], parts[1], None, info)


def train(ranks: Ranks, made: Experiment, *, data: Mapping[str, int] | None = None, upto: int = 99) -> Any:
    """The state after training and the reports' metrics."""
    torch.set_num_threads(1)
    return run(assemble(made, splits(**(data or {})), ranks=ranks), upto=upto)


def run(built: Assembly, *, upto: int = 99) -> tuple[dict[str, Any], list[dict[str, float]]]:
    reports = list(
        fit(
            built.state,
            built.train,
            epochs=min(upto, built.experiment.training.epochs),
            task=built.task,
            evaluate=built.evaluate,
            seed=built.experiment.seed,
            step_fn=built.step_fn,
        )
    )
    told = [{k: v for k, v in report.metrics.items() if k not in TIMED} for report in reports]
    return built.state.state_dict(), told


def many(ranks: Ranks, cases: Mapping[str, Experiment], **options: Any) -> dict[str, Any]:
    return {name: train(ranks, made, **options) for name, made in cases.items()}


def several(ranks: Ranks, calls: Mapping[str, tuple[str, tuple[Any, ...], dict[str, Any]]]) -> dict[str, Any]:
    """Functions of this module called one after the other: starting processes takes longest."""
    return {
        name: globals()[function](ranks, *arguments, **options)
        for name, (function, arguments, options) in calls.items()
    }


def resumed(ranks: Ranks, made: Experiment, saved: Any) -> Any:
    """Go on from a state that some other number of ranks has saved."""
    torch.set_num_threads(1)
    built = assemble(made, splits(), ranks=ranks)
    # Optimizers go on with the very tensors that they are given.
    built.state.load_state_dict(copy.deepcopy(saved))
    return run(built)


def diverging(ranks: Ranks, made: Experiment) -> str:
    """One example's loss is infinite; it is in one rank's part of its batch."""
    data = splits()
    data.train.inputs[7] = float("inf")
    built = assemble(made, data, ranks=ranks)
    try:
        run(built)
    except DivergedError as error:
        return repr(error)
    return "no error"


def losing(ranks: Ranks, made: Experiment, *, lost: int, how: str) -> str:
    """One rank dies, or stands still, in the second epoch."""
    built = assemble(made, splits(), ranks=ranks)
    reports = fit(
        built.state,
        built.train,
        epochs=3,
        task=built.task,
        evaluate=built.evaluate,
        seed=0,
        step_fn=built.step_fn,
    )
    next(reports)
    if ranks.rank == lost:
        if how == "dies":
            os._exit(1)
        threading.Event().wait(HANGS_S)
        os._exit(1)
    try:
        next(reports)
    except ClusterError as error:
        return str(error)
    return "no error"


def dropped(ranks: Ranks, made: Experiment) -> list[float]:
    """Which of 1,000 units this rank's dropout keeps in its first step."""
    built = assemble(made, splits(), ranks=ranks)
    kept: list[float] = []

    def loss_fn(model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> Any:
        kept.extend(torch.nn.functional.dropout(torch.ones(1000), 0.5).tolist() if not kept else [])
        outputs = model(inputs)
        return outputs, built.task.loss(outputs, targets)

    options: dict[str, Any] = {"task": built.task, "evaluate": built.evaluate, "step_fn": built.step_fn}
    next(fit(built.state, built.train, epochs=1, seed=0, loss_fn=loss_fn, **options))
    return kept


def asked(ranks: Ranks) -> dict[str, Any]:
    """What ranks can do for each other."""
    ranks.barrier()
    mine = to_sums({"loss": ranks.rank + 0.5}, 1) if ranks.rank else MetricSums()
    tensor = torch.full((2,), float(ranks.rank))
    ranks.broadcast([tensor])
    counts = [torch.zeros(1)] * (1 + ranks.rank)
    steps = [len(targets) for _, targets in in_step(((count, count) for count in counts), ranks)]
    return {
        "reduced": ranks.reduce(mine),
        "lowest": ranks.lowest(10 - ranks.rank),
        "any": (ranks.any(ranks.rank == 1), ranks.any(False), ranks.any(True)),
        "sum": ranks.sum(torch.tensor([1.0, ranks.rank])).tolist(),
        "broadcast": tensor.tolist(),
        "steps": steps,
    }


def progress(ranks: Ranks, made: Experiment) -> tuple[list[Progress], dict[str, float], int]:
    """What a rank hears of an epoch."""
    built, heard = assemble(made, splits(), ranks=ranks), list[Progress]()
    options: dict[str, Any] = {"task": built.task, "evaluate": built.evaluate, "step_fn": built.step_fn}
    report = next(fit(built.state, built.train, epochs=1, seed=0, on_progress=heard.append, **options))
    return heard, report.metrics, built.state.step
