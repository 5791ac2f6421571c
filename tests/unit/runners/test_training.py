"""A trial that goes on from another's checkpoint: its weights and moments, its own hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from nnray.assembly import Assembly, assemble
from nnray.config import Experiment, parse, with_overrides
from nnray.runners.sweep.clone import clone
from nnray.runners.training import EpochRecord, chosen_model, train_epochs
from nnray.training import checkpoint

TIMED = ("samples_per_s", "epoch_seconds")
CHANGED = {"optimizer.lr": 1e-3, "optimizer.weight_decay": 0.2, "schedule.name": "constant"}


def experiment(**values: Any) -> Experiment:
    base = parse(
        {
            "name": "digits",
            "data": {"name": "digits", "limit": 300},
            "model": {"name": "mlp", "hidden": [16], "dropout": 0.2},
            "optimizer": {"name": "adamw", "lr": 3e-3},
            "schedule": {"name": "cosine"},
            "training": {"epochs": 5, "batch_size": 32},
        }
    )
    return with_overrides(base, {path.replace("__", "."): value for path, value in values.items()})


def train(made: Experiment, folder: Path, *, upto: int) -> tuple[Assembly, list[EpochRecord]]:
    """Train until an epoch has been written down, as a trial that is paused there."""
    folder.mkdir(exist_ok=True)
    built, records = assemble(made), []
    epochs = train_epochs(built, folder)
    for record in epochs:
        records.append(record)
        if record.report.epoch == upto:
            break
    epochs.close()  # type: ignore[attr-defined]
    return built, records


def restored(made: Experiment, folder: Path) -> Assembly:
    """What training would go on from."""
    built = assemble(made)
    next(train_epochs(built, folder))
    return built


def weights(built: Assembly) -> Mapping[str, Any]:
    return {name: value.clone() for name, value in built.state.model.state_dict().items()}


def equal(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture
def cloned(tmp_path: Path) -> Path:
    """A trial that has taken the weights of another after epoch 2."""
    train(experiment(), tmp_path / "0000", upto=2)
    train(experiment(optimizer__lr=1e-5), tmp_path / "0001", upto=2)
    clone(tmp_path / "0000", tmp_path / "0001", epoch=2)
    return tmp_path / "0001"


def test_it_goes_on_from_weights_and_moments_of_the_other(cloned: Path) -> None:
    source = checkpoint.of_epoch(cloned.parent / "0000" / "checkpoints", 2)
    state = restored(with_overrides(experiment(), CHANGED), cloned).state
    assert equal(state.model.state_dict(), source["model"])
    kept = state.optimizer.state_dict()["state"]
    assert kept.keys() == source["optimizer"]["state"].keys()
    assert all(equal(kept[number], source["optimizer"]["state"][number]) for number in kept)
    assert (state.epoch, state.step) == (2, source["step"])


def test_it_goes_on_with_its_own_hyperparameters(cloned: Path) -> None:
    state = restored(with_overrides(experiment(), CHANGED), cloned).state
    assert [group["weight_decay"] for group in state.optimizer.param_groups] == [0.2]
    assert state.schedule.lr == 1e-3
    saved = checkpoint.of_epoch(cloned / "checkpoints", 2)["optimizer"]["param_groups"][0]
    assert (saved["weight_decay"], saved["lr"] < 3e-3) == (0.01, True)


def test_its_next_epoch_is_the_other_s_with_the_hyperparameters_set_by_hand(cloned: Path) -> None:
    """The oracle: the other one's checkpoint, loaded as it is, with another rate and decay put in."""
    changed = with_overrides(experiment(), CHANGED)
    ours, _ = train(changed, cloned, upto=3)
    theirs = assemble(changed)
    theirs.state.load_state_dict(checkpoint.of_epoch(cloned.parent / "0000" / "checkpoints", 2))
    for group in theirs.state.optimizer.param_groups:
        group["lr"], group["weight_decay"] = 1e-3, 0.2
    by_hand = cloned.parent / "by-hand"
    checkpoint.save(by_hand / "checkpoints", theirs.state.state_dict(), epoch=2)
    oracle, _ = train(changed, by_hand, upto=3)
    torch.testing.assert_close(weights(ours), weights(oracle), rtol=1e-5, atol=1e-7)


def test_resumed_from_a_later_checkpoint_it_is_what_it_would_have_been(cloned: Path, tmp_path: Path) -> None:
    """Killed after epoch 3 or 4 and resumed, or never: the same weights, its own rate throughout."""
    changed = with_overrides(experiment(), CHANGED)
    train(changed, cloned, upto=3)
    train(changed, cloned, upto=4)
    pieces, records = train(changed, cloned, upto=5)
    assert [record.report.metrics["lr"] for record in records[2:]] == [1e-3] * 3
    assert [record.replayed for record in records] == [True] * 4 + [False]
    train(experiment(optimizer__lr=1e-5), tmp_path / "0002", upto=2)
    clone(tmp_path / "0000", tmp_path / "0002", epoch=2)
    whole, _ = train(changed, tmp_path / "0002", upto=5)
    assert equal(weights(pieces), weights(whole))


def test_its_later_checkpoints_are_loaded_as_they_are(cloned: Path) -> None:
    """Only up to the cloned epoch are hyperparameters put over what was saved."""
    train(with_overrides(experiment(), CHANGED), cloned, upto=3)
    state = restored(with_overrides(experiment(), {**CHANGED, "optimizer.weight_decay": 0.7}), cloned).state
    assert state.epoch == 3
    assert [group["weight_decay"] for group in state.optimizer.param_groups] == [0.2]


def test_a_clone_that_falls_back_to_the_best_epoch_keeps_its_own(cloned: Path) -> None:
    """The newest checkpoint is damaged: the other one's best, if there is one, is the other one's as well."""
    file = cloned / "checkpoints" / "epoch-000002"
    best = checkpoint.read(file)
    checkpoint.save(cloned / "checkpoints", {**best, "epoch": 1}, epoch=1)
    (file / "state.pt").write_bytes(b"")
    state = restored(with_overrides(experiment(), CHANGED), cloned).state
    assert state.epoch == 1
    assert [group["weight_decay"] for group in state.optimizer.param_groups] == [0.2]


def test_its_history_stays_its_own(cloned: Path) -> None:
    before = (cloned / "history.jsonl").read_text()
    _, records = train(experiment(), cloned, upto=3)
    assert (cloned / "history.jsonl").read_text().startswith(before)
    assert [record.report.epoch for record in records] == [1, 2, 3]


def test_the_other_s_best_epoch_is_its_model_until_it_has_a_better_one(tmp_path: Path) -> None:
    source, target = tmp_path / "0000", tmp_path / "0001"
    train(experiment(), source, upto=3)
    train(experiment(optimizer__lr=1e-5), target, upto=3)
    clone(source, target, epoch=3)
    worse = experiment(optimizer__lr=5.0)
    built, _ = train(worse, target, upto=4)
    model, epoch = chosen_model(worse, target, splits=built.splits)
    best, expected = chosen_model(experiment(), source, splits=built.splits)
    assert epoch == expected
    assert equal(model.state_dict(), best.state_dict())


def test_larger_batches_keep_the_schedule_at_its_epoch(cloned: Path) -> None:
    """Cosine after 2 of 5 epochs, whatever the number of steps in an epoch."""
    small, large = restored(experiment(), cloned), restored(experiment(training__batch_size=64), cloned)
    assert small.train.num_batches != large.train.num_batches
    assert small.state.schedule.lr == pytest.approx(large.state.schedule.lr)


def test_a_clone_that_was_cut_off_is_finished_before_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(experiment(), tmp_path / "0000", upto=2)
    train(experiment(optimizer__lr=1e-5), tmp_path / "0001", upto=2)
    whole = tmp_path / "0001" / "clone"
    monkeypatch.setattr("nnray.runners.sweep.clone.settle", lambda folder: None)
    clone(tmp_path / "0000", tmp_path / "0001", epoch=2)
    monkeypatch.undo()
    assert whole.exists()
    source = checkpoint.of_epoch(tmp_path / "0000" / "checkpoints", 2)
    state = restored(with_overrides(experiment(), CHANGED), tmp_path / "0001").state
    assert equal(state.model.state_dict(), source["model"])
    assert state.schedule.lr == 1e-3


def test_a_run_that_took_nothing_resumes_as_ever(tmp_path: Path) -> None:
    pieces = tmp_path / "pieces"
    train(experiment(), pieces, upto=2)
    resumed, records = train(experiment(), pieces, upto=4)
    whole, expected = train(experiment(), tmp_path / "whole", upto=4)
    assert equal(weights(resumed), weights(whole))
    assert [_untimed(record) for record in records] == [_untimed(record) for record in expected]


def _untimed(record: EpochRecord) -> dict[str, float]:
    return {name: value for name, value in record.report.metrics.items() if name not in TIMED}
