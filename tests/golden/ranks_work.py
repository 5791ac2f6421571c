"""What the processes of ``test_ranks`` do; a module of its own, for they import it by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from nnray.assembly import Assembly, assemble
from nnray.config import Experiment, parse, with_overrides
from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.seeding import torch_rng
from nnray.training.loop import fit
from nnray.training.ranks import Ranks

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
