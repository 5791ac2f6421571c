"""`nnray ensemble`: who is a member, what is chosen by what, and a result that is a model like any other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file
from torch import Tensor, nn

import nnray
from nnray.data.splits import DataSplits, Examples, Split
from nnray.data.stream import Streamed
from nnray.errors import ConfigError, DataError, IncompatibleModel, RunError
from nnray.evaluation.evaluate import evaluate
from nnray.runners.ensemble import EnsembleOutcome
from nnray.runners.ensemble.combining import vote
from nnray.runners.ensemble.kitchen import Kitchen
from nnray.runners.ensemble.members import (
    Data,
    Member,
    best,
    eligible,
    find_members,
    require_same_task,
    shortfalls,
)
from nnray.runners.ensemble.unseen import leaks
from nnray.runners.subject import Part, Subject, open_subject
from nnray.runners.sweep.journal import State
from nnray.runners.sweep.ledger import Trial
from nnray.training.weights import weights_sha256
from tests.unit.after.conftest import Trained, train_in
from tests.unit.after.swept import Swept, sweep_in

STATES: list[State] = ["finished", "pruned", "pruned"]
RULES = ["mean", "vote", "stack", "select", "soup", "uniform_soup"]
TRIALS: list[dict[str, Any]] = [
    {"optimizer.lr": 1e-3},
    {"optimizer.lr": 1e-2},
    {"optimizer.lr": 5e-3, "model.dropout": 0.1},
    {"optimizer.lr": 2e-2},
    {"optimizer.lr": 8e-3},
]


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """Four trials with a model, of which one was stopped early, and one that failed."""
    folder = tmp_path_factory.mktemp("swept")
    return sweep_in(folder, TRIALS, states={3: "pruned", 4: "failed"})


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Another seed than ``trained`` has: other examples are held back for validation."""
    folder = tmp_path_factory.mktemp("other")
    return train_in(folder, name="other", overrides=["training.epochs=2", "seed=1"])


def members_of(swept: Swept, top: int | None = None) -> list[Any]:
    return find_members([swept.run.name], top=top, data=Data(), root=swept.root, tracking=None, trust=False)


def opened(outcome: EnsembleOutcome, root: Path) -> Subject:
    return open_subject(outcome.model_uri, root=root, tracking=outcome.tracking_uri)


def answers(module: nn.Module, subject: Subject, part: Part = "test") -> tuple[Tensor, Tensor]:
    """Log-probabilities and labels of a split."""
    with torch.inference_mode():
        pairs = [
            (module(inputs).log_softmax(1), targets) for inputs, targets in subject.batches(part).epoch(0)
        ]
    return torch.cat([outputs for outputs, _ in pairs]), torch.cat([targets for _, targets in pairs])


def alone(swept: Swept, names: Sequence[str]) -> list[nn.Module]:
    found = {member.name: member.module for member in members_of(swept)}
    return [found[name] for name in names]


def test_the_best_trials_are_members_and_those_that_ended_come_first(swept: Swept) -> None:
    finished = sorted((0, 1, 2), key=lambda number: (-swept.values[number], number))
    assert [trial.number for trial in eligible(swept.run)] == [*finished, 3]
    names = [member.name for member in members_of(swept)]
    assert names == [*(f"trial {number}" for number in finished), "trial 3 (pruned)"]
    assert [member.name for member in members_of(swept, top=2)] == names[:2]


def test_a_trial_that_was_stopped_is_no_member_but_to_choose_from(swept: Swept) -> None:
    assert [member.state for member in members_of(swept, top=4)] == ["finished"] * 3
    outcome = nnray.ensemble(swept.run.name, top=4, root=swept.root)
    assert len(outcome.members) == 3
    assert any("3 trials came to their end" in note for note in outcome.notes)
    assert nnray.ensemble(swept.run.name, top=3, root=swept.root).notes == []


@pytest.mark.parametrize(("top", "taken"), [(1, [0]), (2, [0, 1]), (5, [0, 1]), (None, [0, 1, 2])])
def test_stopped_trials_make_up_two_where_there_are_not_two(top: int | None, taken: list[int]) -> None:
    trials = [Trial(number, {}, "", state=state) for number, state in enumerate(STATES)]
    assert [trial.number for trial in best(trials, top)] == taken


def test_it_is_said_who_was_stopped(swept: Swept) -> None:
    finished, *_, stopped = members_of(swept)
    (text,) = shortfalls([finished, stopped], 5)
    assert "so trial 3 (pruned) is taken" in text
    assert list(shortfalls([finished, stopped], None)) == []


@pytest.mark.parametrize("combine", RULES)
def test_it_is_a_model_like_any_other(combine: Any, swept: Swept) -> None:
    outcome = nnray.ensemble(swept.run.path, combine=combine, top=3, root=swept.root)
    subject = opened(outcome, swept.root)
    assert subject.sha256 == outcome.model_sha256 == weights_sha256(subject.module)
    assert subject.info.num_classes == 10
    sums = evaluate(subject.module, subject.batches("test").epoch(0), subject.task)
    for name, value in subject.task.summarize(sums).items():
        assert outcome.metrics[f"test_{name}"] == pytest.approx(value, abs=1e-6)
    by_name = open_subject("swept@candidate", root=swept.root, tracking=outcome.tracking_uri)
    assert by_name.sha256 == outcome.model_sha256


@pytest.mark.parametrize("combine", RULES)
def test_it_is_recorded_below_its_sweep(combine: Any, swept: Swept) -> None:
    outcome = nnray.ensemble(swept.run.name, combine=combine, top=2, root=swept.root)
    client = MlflowClient(outcome.tracking_uri)
    run = client.get_run(opened(outcome, swept.root).origin.run_id)
    assert run.data.tags["mlflow.parentRunId"] == swept.run_id == outcome.run_id
    assert run.data.params["ensemble.combine"] == combine
    assert run.data.params["ensemble.members"] == ", ".join(each["name"] for each in outcome.members)
    assert run.data.metrics["test_accuracy"] == pytest.approx(outcome.metrics["test_accuracy"])
    above = client.get_run(swept.run_id).data.metrics
    assert above["ensemble.val_accuracy"] == pytest.approx(outcome.metrics["val_accuracy"])
    written = [file.path for file in client.list_artifacts(swept.run_id, "ensemble")]
    assert written == ["ensemble/ensemble.json", "ensemble/ensemble.txt"]
    saved = json.loads(Path(outcome.files[0]).read_text())
    assert saved["combine"] == combine
    assert [row["sha256"] for row in saved["members"]] == [row["sha256"] for row in outcome.members]


def test_the_mean_is_that_of_its_members(swept: Swept) -> None:
    outcome = nnray.ensemble(swept.run.name, top=3, root=swept.root)
    subject = opened(outcome, swept.root)
    said, _ = answers(subject.module, subject)
    members = alone(swept, [row["name"] for row in outcome.members])
    expected = torch.stack([answers(member, subject)[0].exp() for member in members]).mean(0)
    torch.testing.assert_close(said.exp(), expected)


def test_members_are_measured_beside_it(swept: Swept) -> None:
    outcome = nnray.ensemble(swept.run.name, top=3, root=swept.root)
    for row, module in zip(outcome.members, alone(swept, [r["name"] for r in outcome.members]), strict=True):
        said, labels = answers(module, opened(outcome, swept.root))
        accuracy = (said.argmax(1) == labels).double().mean().item()
        assert row["metrics"]["test_accuracy"] == pytest.approx(accuracy)
        number = int(row["name"].split()[1])
        assert row["metrics"]["val_accuracy"] == pytest.approx(swept.values[number])


def test_a_soup_has_the_mean_of_its_members_weights(swept: Swept) -> None:
    outcome = nnray.ensemble(swept.run.name, combine="uniform_soup", top=3, root=swept.root)
    states = [module.state_dict() for module in alone(swept, [row["name"] for row in outcome.members])]
    for name, value in opened(outcome, swept.root).module.state_dict().items():
        expected = torch.stack([state[name].double() for state in states]).mean(0).to(value.dtype)
        torch.testing.assert_close(value, expected)


def test_a_soup_gathers_what_batch_norm_remembers_anew(tmp_path: Path) -> None:
    trials = [{"model.norm": "batch", "optimizer.lr": lr} for lr in (1e-3, 1e-2)]
    two = sweep_in(tmp_path, trials, name="two")
    outcome = nnray.ensemble(two.run.name, combine="uniform_soup", root=two.root)
    subject = opened(outcome, two.root)
    (norm,) = (part for part in subject.module.modules() if isinstance(part, nn.BatchNorm1d))
    seen: list[Tensor] = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    answers(subject.module, subject, part="train")
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, torch.cat(seen).mean(0), atol=0.02, rtol=0.02)
    averaged = [two.run.path / "trials" / f"{number:04d}" / "model.safetensors" for number in (0, 1)]
    means = [load_file(path)["net.norm1.running_mean"] for path in averaged]
    assert not torch.allclose(norm.running_mean, torch.stack(means).mean(0), atol=0.02)


def test_a_greedy_soup_is_no_worse_than_its_best_member_where_it_was_chosen(swept: Swept) -> None:
    outcome = nnray.ensemble(swept.run.name, combine="soup", root=swept.root)
    assert outcome.metrics["val_accuracy"] >= max(swept.values[number] for number in (0, 1, 2, 3))
    assert outcome.members[0]["metrics"]["val_accuracy"] == max(swept.values[n] for n in (0, 1, 2, 3))
    assert any("optimistic" in note for note in outcome.notes)


def test_selection_takes_from_all_trials_and_beats_each_by_loss(swept: Swept) -> None:
    outcome = nnray.ensemble(swept.run.name, combine="select", root=swept.root)
    losses = [row["metrics"]["val_loss"] for row in outcome.members]
    assert outcome.metrics["val_loss"] <= min(losses) + 1e-6
    assert sum(row["weight"] for row in outcome.members) == pytest.approx(1.0)
    found = json.loads(Path(outcome.files[0]).read_text())["found"]
    assert min(found["losses"]) == pytest.approx(outcome.metrics["val_loss"], abs=1e-5)


def test_a_stack_says_what_it_would_be_on_other_examples(swept: Swept) -> None:
    outcome = nnray.ensemble(swept.run.name, combine="stack", top=3, root=swept.root)
    subject = opened(outcome, swept.root)
    sums = evaluate(subject.module, subject.batches("val").epoch(0), subject.task)
    assert outcome.metrics["val_loss"] > subject.task.summarize(sums)["loss"]
    assert any("cross-validation" in note for note in outcome.notes)


def test_the_same_members_give_the_same_model(swept: Swept) -> None:
    hashes = {
        nnray.ensemble(swept.run.name, combine="stack", top=2, root=swept.root).model_sha256 for _ in range(2)
    }
    assert len(hashes) == 1


def test_the_test_split_stays_closed_while_rules_are_compared(
    swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the test split was opened")

    monkeypatch.setattr(Kitchen, "test", fail)
    outcome = nnray.ensemble(swept.run.name, test=False, root=swept.root)
    assert "val_accuracy" in outcome.metrics
    assert not any(name.startswith("test_") for name in outcome.metrics)


def test_models_of_different_kinds_are_named_one_by_one(trained: Trained, conv: Trained) -> None:
    outcome = nnray.ensemble([trained.result, conv.result], combine="stack", root=trained.root)
    assert outcome.run_id == trained.result.run_id
    assert "ensemble.val_accuracy" not in MlflowClient(trained.tracking).get_run(outcome.run_id).data.metrics
    worst = max(each.result.metrics["val_loss"] for each in (trained, conv))
    assert outcome.metrics["val_loss"] < worst
    for row, each in zip(outcome.members, (trained, conv), strict=True):
        assert row["metrics"]["test_accuracy"] == pytest.approx(each.result.metrics["test_accuracy"])


def test_another_task_is_refused_with_all_that_differs(swept: Swept) -> None:
    first, second, third = members_of(swept, top=3)
    letters = replace(second.info, classes=("a", "b"), input_shape=(1, 4, 4))
    gaps = replace(third.info, missing=True)
    with pytest.raises(IncompatibleModel) as caught:
        require_same_task([first, replace(second, info=letters), replace(third, info=gaps)])
    text = str(caught.value)
    assert "predicts 2 classes: a, b" in text
    assert "takes inputs of shape [1, 4, 4]" in text
    assert f"{third.name} (digits): takes missing values" in text
    swapped = replace(second.info, classes=second.info.classes[::-1])
    with pytest.raises(IncompatibleModel, match="predicts 10 classes"):
        require_same_task([first, replace(second, info=swapped)])


def test_other_structures_vote_but_make_no_soup(swept: Swept, tmp_path: Path) -> None:
    wide = train_in(tmp_path, name="wide", overrides=["training.epochs=2"])
    both = [swept.run.path, wide.result]
    outcome = nnray.ensemble(both, combine="vote", top=2, root=swept.root)
    assert [row["name"].startswith(swept.run.name) for row in outcome.members] == [True, True, False]
    assert opened(outcome, swept.root).sha256 == outcome.model_sha256
    with pytest.raises(IncompatibleModel, match=r"has net.* \[32, 64\], .* has \[16, 64\]"):
        nnray.ensemble(both, combine="soup", top=2, root=swept.root)


def test_the_same_shapes_with_another_activation_make_no_soup(tmp_path: Path) -> None:
    two = sweep_in(tmp_path, [{}, {"model.activation": "tanh"}], name="two")
    with pytest.raises(IncompatibleModel, match=r"trial . has model\.activation (tanh|relu)"):
        nnray.ensemble(two.run.name, combine="uniform_soup", root=two.root)
    assert len(nnray.ensemble(two.run.name, root=two.root).members) == 2


def test_what_others_have_learnt_is_not_chosen_by(trained: Trained, other: Trained) -> None:
    models = [trained.result, other.result]
    for combine in ("stack", "select", "soup"):
        with pytest.raises(DataError, match=r"has learnt from \d+ of its \d+ examples.*mean or vote"):
            nnray.ensemble(models, combine=combine, root=trained.root)
    outcome = nnray.ensemble(models, root=trained.root)
    assert "val_accuracy" not in outcome.metrics
    assert "test_accuracy" in outcome.metrics
    assert any("has learnt from" in note for note in outcome.notes)
    assert any("trained on other examples" in note for note in outcome.notes)


def test_leaks_are_counted_example_by_example(trained: Trained, other: Trained) -> None:
    data = Data()
    references = [str(each.result.folder) for each in (trained, other)]
    first, second = find_members(
        references, top=None, data=data, root=trained.root, tracking=None, trust=False
    )
    val = data.of_member(first).val
    assert isinstance(val, Examples)
    rows = {tuple(row) for row in val.inputs.flatten(1).tolist()}
    learnt, own = (
        {tuple(row) for row in data.of_member(member).train.inputs.flatten(1).tolist()}  # type: ignore[union-attr]
        for member in (second, first)
    )
    common = len((rows - own) & learnt)
    (text,) = leaks("val", val, members=[first, second], data=data)
    assert f"{second.name} has learnt from {common} of its {len(rows - own)} examples" == text
    assert leaks("val", val, members=[first, first], data=data) == []


class Held(Data):
    """Splits that a test makes up, by the digest of a member's data."""

    def __init__(self, **splits: tuple[Split, Split | None]) -> None:
        super().__init__()
        self.given = splits

    def of_member(self, member: Member) -> DataSplits:
        train, val = self.given[member.info.digest]
        return DataSplits(train, val, None, member.info)


def rows(*values: int) -> Examples:
    return Examples(torch.tensor(values).reshape(-1, 1), torch.zeros(len(values), dtype=torch.int64))


def two_members(swept: Swept) -> list[Member]:
    first, second = members_of(swept, top=2)
    return [
        replace(member, info=replace(member.info, digest=digest), name=digest)
        for member, digest in ((first, "a"), (second, "b"))
    ]


def test_what_one_was_chosen_by_is_no_test(swept: Swept) -> None:
    members = two_members(swept)
    data = Held(a=(rows(1, 2, 3), rows(4)), b=(rows(1, 2, 4), rows(8, 9)))
    assert leaks("test", rows(5, 6), members=members, data=data) == []
    assert leaks("test", rows(5, 8), members=members, data=data) == ["b has learnt from 1 of its 2 examples"]
    assert leaks("val", rows(4), members=members, data=data) == ["b has learnt from 1 of its 1 examples"]
    assert leaks("val", rows(7, 8), members=members, data=data) == []


def test_an_example_that_the_data_hold_twice_is_no_leak(swept: Swept) -> None:
    data = Held(a=(rows(1, 2, 3), rows(3)), b=(rows(3), rows(9)))
    assert leaks("val", rows(3), members=two_members(swept), data=data) == []


def test_members_of_the_same_data_are_not_compared(swept: Swept) -> None:
    first, _ = two_members(swept)
    assert leaks("val", rows(1), members=[first, first], data=Held()) == []


def test_streams_of_other_data_are_not_trusted(swept: Swept) -> None:
    stream = Streamed(SimpleNamespace(sizes=[1]), np.zeros(1), np.ones(1, dtype=np.bool_))  # type: ignore[arg-type]
    members = two_members(swept)
    for train in ((stream, rows(2)), (rows(1), stream)):
        data = Held(a=(train[0], None), b=(train[1], None))
        (text,) = leaks("val", rows(1), members=members, data=data)
        assert "can't be compared" in text


def test_one_alone_is_no_ensemble(trained: Trained, swept: Swept) -> None:
    with pytest.raises(RunError, match="two members or more"):
        nnray.ensemble(trained.result)
    with pytest.raises(RunError, match="two members or more"):
        nnray.ensemble(swept.run.name, top=1, root=swept.root)


def test_a_sweep_that_goes_on_has_no_members_yet(swept: Swept, tmp_path: Path) -> None:
    from nnray.config import load
    from nnray.runners.folder import create

    experiment = load(swept.root.parent / "swept.yaml", [f"tracking.dir={tmp_path}"])
    run = create(experiment, "sweep")
    with pytest.raises(RunError, match=f"has not ended: `nnray resume {run.name}`"):
        nnray.ensemble(run.name, root=tmp_path)


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    two = sweep_in(tmp_path, [{}, {"optimizer.lr": 1e-2}], name="two")
    path = two.run.path / "trials" / "0001" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RunError, match="the model of trial 1 can't be read"):
        nnray.ensemble(two.run.name, root=two.root)
    path.unlink()
    (two.run.path / "trials" / "0000" / "model.safetensors").unlink()
    with pytest.raises(RunError, match="no trial has a model"):
        nnray.ensemble(two.run.name, root=two.root)


def test_no_validation_split_leaves_nothing_to_choose_by(swept: Swept) -> None:
    data = Data()
    members = find_members([swept.run.name], top=2, data=data, root=swept.root, tracking=None, trust=False)
    splits = replace(data.of_member(members[0]), val=None)
    with pytest.raises(DataError, match=r"set data\.validation"):
        Kitchen(members, data, splits).table("stack")
    kitchen = Kitchen(members, data, splits)
    made = vote(kitchen.table("vote"))
    assert made.val == {}
    assert any("set data.validation" in note for note in kitchen.notes)
    tested, notes = kitchen.test(made)
    assert notes == []
    assert all("accuracy" in metrics for metrics in tested)


def test_no_test_split_is_said(swept: Swept) -> None:
    data = Data()
    members = find_members([swept.run.name], top=2, data=data, root=swept.root, tracking=None, trust=False)
    splits = data.of_member(members[0])
    kitchen = Kitchen(members, data, replace(splits, test=None))
    tested, notes = kitchen.test(vote(kitchen.table("vote")))
    assert tested == [{}, {}, {}]
    assert notes == ["test: the data have no test split"]
    empty = Kitchen(members, data, replace(splits, test=lambda: rows()))
    with pytest.raises(DataError, match="the test split is empty"):
        empty.test(vote(kitchen.table("vote")))


def test_a_member_with_outputs_that_are_not_numbers_is_named(swept: Swept) -> None:
    data = Data()
    members = find_members([swept.run.name], top=2, data=data, root=swept.root, tracking=None, trust=False)
    with torch.no_grad():
        next(members[1].module.parameters()).fill_(torch.nan)
    with pytest.raises(DataError, match=f"not numbers from {members[1].name}: leave them out"):
        Kitchen(members, data, data.of_member(members[0])).table("mean")


def test_an_ensemble_may_be_a_member(swept: Swept) -> None:
    inner = nnray.ensemble(swept.run.name, top=2, root=swept.root)
    outcome = nnray.ensemble(
        [inner.model_uri, swept.run.name], combine="vote", top=1, root=swept.root, tracking=inner.tracking_uri
    )
    assert opened(outcome, swept.root).sha256 == outcome.model_sha256
    with pytest.raises(IncompatibleModel):
        nnray.ensemble(
            [inner.model_uri, swept.run.name], combine="soup", root=swept.root, tracking=inner.tracking_uri
        )


@pytest.mark.parametrize(
    ("options", "words"),
    [({"combine": "men"}, "did you mean 'mean'"), ({"top": 0}, "above 0")],
)
def test_wrong_arguments_are_said(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        nnray.ensemble("nothing", **options)


def test_the_summary_shows_members_and_ensemble(swept: Swept) -> None:
    outcome = nnray.ensemble(swept.run.name, combine="select", root=swept.root)
    lines = outcome.table().splitlines()
    assert lines[0].split() == ["val_accuracy", "val_loss", "test_accuracy", "test_loss", "weight"]
    assert len(lines) == len(outcome.members) + 2
    assert lines[-1].startswith("ensemble")
    assert f"{outcome.metrics['test_accuracy']:.4f}" in lines[-1]
    assert "nnray evaluate swept@candidate" in outcome.summary()
    assert json.loads(json.dumps(outcome.to_dict()))["verb"] == "ensemble"
