"""Training by DP-SGD from an experiment: what it says, what it spends, and that it resumes exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nnray.assembly import Assembly, assemble, load_data
from nnray.config import Experiment, parse
from nnray.config.privacy import PrivacyConfig
from nnray.errors import ConfigError, IncompatibleModel
from nnray.privacy.accounting import epsilon
from nnray.runners import local
from nnray.runners.display import Lines
from nnray.runners.folder import create
from nnray.runners.training import EpochRecord, chosen_model, train_epochs
from nnray.tracking import MemoryTracker
from nnray.training.weights import weights_sha256

TIMED = ("samples_per_s", "epoch_seconds")
PRIVACY: dict[str, Any] = {
    "unit": "example",
    "noise_multiplier": 0.8,
    "delta": 1e-4,
    "clip_norm": 0.5,
    "accountant": "rdp",
}


def experiment(
    privacy: Mapping[str, Any] | None = None, *, values: Mapping[str, Any] | None = None, **training: Any
) -> Experiment:
    made = parse(
        {
            "name": "digits",
            "data": {"name": "digits", "limit": 300},
            "model": {"name": "mlp", "hidden": [16], "dropout": 0.2},
            "optimizer": {"name": "sgd", "lr": 0.5},
            "training": {"epochs": 3, "batch_size": 60, **training},
            **(values or {}),
        }
    )
    return made.model_copy(update={"privacy": PrivacyConfig(**{**PRIVACY, **(privacy or {})})})


def train(made: Experiment, folder: Path, *, upto: int = 99) -> list[EpochRecord]:
    """Train until an epoch has been written down, as a run that is killed there."""
    folder.mkdir(exist_ok=True)
    records, epochs = [], train_epochs(assemble(made), folder)
    for record in epochs:
        records.append(record)
        if record.report.epoch == upto:
            break
    return records


def metrics(records: list[EpochRecord]) -> list[dict[str, float]]:
    return [{k: v for k, v in r.report.metrics.items() if k not in TIMED} for r in records]


def digest(made: Experiment, folder: Path) -> str:
    return weights_sha256(chosen_model(made, folder, splits=load_data(made))[0])


def test_epsilon_stands_beside_the_metrics_of_every_epoch(tmp_path: Path) -> None:
    made = experiment()
    records = train(made, tmp_path)
    count = assemble(made).train.num_examples
    expected = [
        epsilon(noise_multiplier=0.8, rate=60 / count, steps=steps, delta=1e-4, accountant="rdp")
        for steps in (r.report.step for r in records)
    ]
    assert [r.report.metrics["epsilon"] for r in records] == pytest.approx(expected, abs=1e-9)
    assert [r.report.step for r in records] == [round(count / 60) * epoch for epoch in (1, 2, 3)]


def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    made = experiment()
    whole = train(made, tmp_path / "whole")
    train(made, tmp_path / "killed", upto=1)
    resumed = train(made, tmp_path / "killed")
    assert metrics(resumed) == metrics(whole)
    assert [record.replayed for record in resumed] == [True, False, False]
    assert digest(made, tmp_path / "killed") == digest(made, tmp_path / "whole")


@pytest.mark.parametrize("other", [{"noise_multiplier": 0.9}, {"clip_norm": 0.4}, {"noise_multiplier": 1e-9}])
def test_noise_and_clipping_reach_the_weights(other: dict[str, Any], tmp_path: Path) -> None:
    made, changed = experiment(), experiment(other)
    train(made, tmp_path / "one")
    train(changed, tmp_path / "other")
    assert digest(made, tmp_path / "one") != digest(changed, tmp_path / "other")


def test_the_physical_batch_size_changes_nothing_but_rounding(tmp_path: Path) -> None:
    """Without dropout, which draws for each part."""
    values = {"model": {"name": "mlp", "hidden": [16]}}
    whole, parts = (experiment({"physical_batch_size": size}, values=values) for size in (None, 7))
    states = []
    for name, made in (("whole", whole), ("parts", parts)):
        built = assemble(made)
        (tmp_path / name).mkdir()
        list(train_epochs(built, tmp_path / name))
        states.append([param.detach().clone() for param in built.state.model.parameters()])
    for one, other in zip(*states, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_epsilon_alone_gives_the_noise(tmp_path: Path) -> None:
    made = experiment({"epsilon": 4.0, "noise_multiplier": None})
    records = train(made, tmp_path)
    assert 3.99 < records[-1].report.metrics["epsilon"] <= 4.0


def test_the_epoch_that_would_exceed_the_budget_is_not_trained(tmp_path: Path) -> None:
    free = train(experiment(epochs=4), tmp_path / "free")
    budget = (free[1].report.metrics["epsilon"] + free[2].report.metrics["epsilon"]) / 2
    made = experiment({"epsilon": budget}, epochs=4)
    records = train(made, tmp_path / "bound")
    assert [r.report.epoch for r in records] == [1, 2]
    assert [r.report.is_last for r in records] == [False, True]
    epsilons = [r.report.metrics["epsilon"] for r in records]
    assert epsilons == [r.report.metrics["epsilon"] for r in free[:2]] and epsilons[-1] <= budget


def test_a_schedule_ends_with_the_budget() -> None:
    values = {"schedule": {"name": "cosine"}}
    built = assemble(experiment({"epsilon": 9.0}, values=values, epochs=500))
    assert built.plan is not None and built.plan.is_cut
    for _ in range(built.epochs * built.train.num_batches):
        built.state.optimizer.step()
        built.state.schedule.step()
    assert built.state.schedule.lr == pytest.approx(0.0, abs=1e-6)


def test_withheld_metrics_are_not_told(tmp_path: Path) -> None:
    told = []
    folder = tmp_path / "run"
    folder.mkdir()
    built = assemble(experiment({"metrics": "withheld"}))
    records = list(train_epochs(built, folder, on_progress=told.append))
    names = set(records[0].report.metrics)
    assert not {name for name in names if name.startswith("train_")} and not told
    assert {"val_loss", "val_accuracy", "epsilon"} <= names


@pytest.fixture
def tracker() -> Iterator[MemoryTracker]:
    made = MemoryTracker()
    yield made
    made.close()


@pytest.mark.parametrize("kept", ["outside", "withheld"])
def test_a_run_says_what_it_guarantees_and_what_not(
    kept: str, tracker: MemoryTracker, capsys: pytest.CaptureFixture[str]
) -> None:
    made = experiment({"metrics": kept})
    run = create(made, "train")
    result = local.train(made, run, tracker=tracker, display=Lines())
    tracker.flush()
    recorded = tracker.runs[run.name]
    assert [step for step, _ in recorded.history("epsilon")] == [1, 2, 3]
    assert result.metrics["epsilon"] == recorded.history("epsilon")[-1][1]
    said, outside = recorded.tags["nnray.privacy"], recorded.tags["nnray.privacy.outside"]
    assert said.startswith(f"epsilon {result.metrics['epsilon']:.4g} at delta 0.0001")
    assert ("train_loss" in outside) == (kept == "outside")
    assert "seed" in outside and "data.normalize" in outside
    shown = capsys.readouterr().err
    assert said in shown and outside in shown


def test_a_run_without_privacy_says_nothing_of_it(tracker: MemoryTracker) -> None:
    made = experiment().model_copy(update={"privacy": None})
    run = create(made, "train")
    result = local.train(made, run, tracker=tracker, display=Lines())
    tracker.flush()
    assert "epsilon" not in result.metrics
    assert not [tag for tag in tracker.runs[run.name].tags if "privacy" in tag]


def test_the_result_has_what_the_whole_run_has_spent(tracker: MemoryTracker) -> None:
    """Not what it had spent at the epoch that was chosen: the later ones were trained as well."""
    made = experiment(epochs=6, metric="val_loss", mode="max", early_stopping={"patience": 1})
    run = create(made, "train")
    result = local.train(made, run, tracker=tracker, display=Lines())
    tracker.flush()
    assert (result.epoch, result.epochs) == (1, 2)
    assert result.metrics["epsilon"] == tracker.runs[run.name].history("epsilon")[-1][1]


CNN = {"name": "cnn", "channels": [4, 4], "hidden": 8, "norm": "batch"}


def test_batch_norm_is_refused_with_the_flag_that_replaces_it() -> None:
    with pytest.raises(IncompatibleModel, match=r"norm1 \(BatchNorm2d\)(.|\n)*replace_modules: true"):
        assemble(experiment(values={"model": CNN}))


def test_replaced_modules_train_and_load(tmp_path: Path) -> None:
    made = experiment({"replace_modules": True}, values={"model": CNN}, epochs=1)
    train(made, tmp_path)
    model, _ = chosen_model(made, tmp_path, splits=load_data(made))
    assert {type(module).__name__ for module in model.modules()} >= {"GroupNorm"}
    assert not [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]


def test_clients_privacy_leaves_training_as_it_is(tmp_path: Path) -> None:
    made = experiment({"unit": "client"})
    records = train(made, tmp_path)
    assert "epsilon" not in records[0].report.metrics
    assert assemble(made).plan is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"task": {"name": "classification", "class_weights": [1.0] * 9 + [3.0]}}, "class_weights"),
        ({"data": {"name": "digits", "limit": 300, "augment": [{"name": "mixup"}]}}, "mixup"),
    ],
)
def test_what_ties_examples_together_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        assemble(experiment(values=values))


def test_augmentation_of_single_examples_goes_along(tmp_path: Path) -> None:
    values = {"data": {"name": "digits", "limit": 300, "augment": [{"name": "crop", "padding": 1}]}}
    made = experiment(values=values, epochs=1)
    train(made, tmp_path / "one")
    train(made, tmp_path / "again")
    assert digest(made, tmp_path / "one") == digest(made, tmp_path / "again")


def largest_change(built: Assembly, take: Callable[[], object]) -> Tensor:
    before = [param.detach().clone() for param in built.state.model.parameters()]
    take()
    after = [param.detach() for param in built.state.model.parameters()]
    return torch.stack([(a - b).abs().max() for a, b in zip(after, before, strict=True)]).max()


def test_evaluation_changes_nothing() -> None:
    built = assemble(experiment())
    assert float(largest_change(built, lambda: built.evaluate(built.state))) == 0
