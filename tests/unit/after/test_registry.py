"""An alias moves to a model that is no worse on the same test data, and never otherwise unless forced."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

import nnray
from nnray.assembly.described import ABOUT, WEIGHTS
from nnray.errors import ConfigError, RunError
from nnray.runners.registry import promotion, tested
from nnray.runners.registry.promotion import Promoted, Request, promote_model
from nnray.runners.registry.tested import Figures, run_test
from nnray.runners.results import RunResult
from nnray.runners.subject import open_subject
from nnray.tracking.client import make_client
from nnray.tracking.registry import holder_of, list_models
from nnray.tracking.stored import fetch_files, find_stored
from tests.unit.after.conftest import Trained, train_in
from tests.unit.cli_calls import caller


@dataclass(frozen=True)
class Shelf:
    """Versions of ``net``: 1 good, 2 bad, 3 as 1, 4 of another split, 5 without a test split, 6 as 2."""

    folder: Path
    results: dict[int, RunResult]

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    @property
    def client(self) -> MlflowClient:
        return make_client(self.uri)

    def point(self, version: int, *, alias: str = "champion", name: str = "net") -> None:
        self.client.set_registered_model_alias(name, alias, str(version))

    def holder(self, *, alias: str = "champion", name: str = "net") -> str:
        found = holder_of(self.uri, name, alias=alias)
        return "" if found is None else found.reference

    def promote(self, model: Any, **options: Any) -> Promoted:
        return nnray.promote(model, root=self.folder / "runs", tracking=self.uri, **options)

    def state(self) -> Any:
        """All that a promotion can change."""
        runs = [self.client.get_run(result.run_id) for result in self.results.values()]
        return (
            [(version.reference, version.aliases) for version in list_models(self.uri)],
            [(run.data.tags, run.data.metrics) for run in runs],
            sorted(self.folder.glob("runs/*/promote-*")),
        )


def digits() -> dict[str, Any]:
    """A hundred made-up examples in ten classes."""
    rng = np.random.default_rng(0)
    return {"x": rng.integers(0, 256, (100, 1, 8, 8), np.uint8), "y": np.arange(100) % 10}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    folder = tmp_path_factory.mktemp("shelf")
    good, bad = ["training.epochs=4"], ["training.epochs=1", "optimizer.lr=1e-4"]
    np.savez(folder / "all.npz", **digits())
    untested = f"data={{name: npz, file: {folder}/all.npz, test: 0}}"
    settings = [good, bad, good, [*bad, "data.split_seed=1"], [*bad, untested], bad]
    results = {
        number: train_in(folder, name="net", overrides=overrides).result
        for number, overrides in enumerate(settings, 1)
    }
    return Shelf(folder, results)


@pytest.fixture(autouse=True)
def _good_is_champion(shelf: Shelf) -> Iterator[None]:
    shelf.point(1)
    yield
    for alias in ("staging", "bad", "fresh"):
        shelf.client.delete_registered_model_alias("net", alias)


def accuracy(shelf: Shelf, version: int) -> float:
    return shelf.results[version].metrics["test_accuracy"]


@pytest.mark.parametrize("metric", [None, "test_accuracy", "accuracy", "test_loss", "test_f1_macro"])
def test_a_worse_model_is_refused_with_both_figures_and_nothing_changes(
    shelf: Shelf, metric: str | None
) -> None:
    before = shelf.state()
    with pytest.raises(RunError, match="net/2 is worse than net/1, which is champion") as refused:
        shelf.promote("net/2", metric=metric)
    name = {None: "test_accuracy", "accuracy": "test_accuracy"}.get(metric, metric)
    assert name is not None
    for version in (1, 2):
        assert f"{shelf.results[version].metrics[name]:.4f}" in str(refused.value)
    assert "the same 359 examples" in str(refused.value) and "--force" in str(refused.value)
    assert shelf.state() == before


def test_a_better_model_replaces_the_present_one(shelf: Shelf) -> None:
    shelf.point(2, alias="staging")
    done = shelf.promote(shelf.results[1], alias="staging")
    assert shelf.holder(alias="staging") == "net/1" == done.model and shelf.holder() == "net/1"
    assert (done.replaced, done.changed, done.registered, done.warning) == ("net/2", True, False, "")
    assert done.metrics == {
        "test_accuracy": pytest.approx(accuracy(shelf, 1), abs=1e-12),
        "test_accuracy_before": pytest.approx(accuracy(shelf, 2), abs=1e-12),
    }
    new, old = (shelf.client.get_run(shelf.results[k].run_id).data for k in (1, 2))
    assert new.metrics["promote.test_accuracy"] == done.metrics["test_accuracy"]
    assert new.metrics["promote.test_accuracy_before"] == done.metrics["test_accuracy_before"]
    said = new.tags["nnray.promoted.staging"]
    assert said == old.tags["nnray.replaced.staging"] == "; ".join(done.summary().split("\n"))
    assert "net/1" in said and "net/2" in said and f"{accuracy(shelf, 2):.4f}" in said
    path = shelf.client.download_artifacts(shelf.results[1].run_id, "promote/staging.json")
    facts = json.loads(Path(path).read_text())
    assert facts["test_before"]["test_loss"] == pytest.approx(shelf.results[2].metrics["test_loss"], rel=1e-5)


def test_the_present_holder_is_left_as_it_is(shelf: Shelf) -> None:
    before = shelf.state()
    done = shelf.promote("net/1")
    assert not done.changed and "already" in done.summary() and shelf.state() == before
    assert not shelf.promote(shelf.results[1], force=True).changed and shelf.state() == before


def test_promoting_twice_records_once(shelf: Shelf) -> None:
    for _ in range(2):
        shelf.point(2, alias="staging")
        shelf.promote("net/1", alias="staging")
    history = shelf.client.get_metric_history(shelf.results[1].run_id, "promote.test_accuracy")
    assert len(history) == 1


def test_a_tie_passes(shelf: Shelf) -> None:
    done = shelf.promote("net/3")
    assert shelf.holder() == "net/3" and done.replaced == "net/1" and done.warning == ""
    assert done.metrics["test_accuracy"] == done.before


def test_force_promotes_a_worse_one_and_says_so(shelf: Shelf) -> None:
    done = shelf.promote("net/2", force=True)
    assert shelf.holder() == "net/2" and "worse than net/1" in done.warning
    assert "forced: net/2 is worse" in done.summary()
    assert "forced" in shelf.client.get_run(shelf.results[2].run_id).data.tags["nnray.promoted.champion"]


def test_other_test_data_are_refused(shelf: Shelf) -> None:
    before = shelf.state()
    with pytest.raises(RunError, match=r"net/4 can't be compared with net/1.*other examples.*SHA-256"):
        shelf.promote("net/4")
    assert shelf.state() == before
    assert "other examples" in shelf.promote("net/4", force=True).warning
    assert shelf.holder() == "net/4"


def test_a_model_without_a_test_split_is_not_compared(shelf: Shelf) -> None:
    with pytest.raises(RunError, match=r"net/5 can't be compared with net/1: .*no test split"):
        shelf.promote("net/5")
    shelf.point(5)
    with pytest.raises(RunError, match=r"net/5, which is champion, can't be measured: .*no test split"):
        shelf.promote("net/1")
    assert shelf.holder() == "net/5"
    done = shelf.promote("net/1", force=True)
    assert shelf.holder() == "net/1" and "no test split" in done.warning


@pytest.mark.parametrize(("version", "metrics"), [(2, ["test_accuracy"]), (5, [])])
def test_the_first_of_an_alias_has_nothing_to_beat(shelf: Shelf, version: int, metrics: list[str]) -> None:
    done = shelf.promote(f"net/{version}", alias="fresh")
    assert shelf.holder(alias="fresh") == f"net/{version}"
    assert (done.replaced, list(done.metrics)) == ("", metrics)
    assert "nothing was before" in done.summary()


def test_a_present_one_that_can_not_be_opened_is_told(shelf: Shelf) -> None:
    path = fetch_files(find_stored("net/2", uri=shelf.uri)) / WEIGHTS
    shelf.point(2)
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    try:
        with pytest.raises(RunError, match=r"net/2, which is champion, can't be measured: .*not those"):
            shelf.promote("net/1")
        assert shelf.holder() == "net/2"
        assert shelf.promote("net/1", force=True).replaced == "net/2"
    finally:
        path.write_bytes(good)


def test_a_model_is_registered_first_under_the_name_that_is_asked_for(shelf: Shelf) -> None:
    done = shelf.promote(shelf.results[1].run_id, name="other")
    assert done.registered and done.model == "other/1" == shelf.holder(name="other")
    with pytest.raises(RunError, match="worse than other/1"):
        shelf.promote("net/2", name="other")
    assert [version.reference for version in list_models(shelf.uri, "other")] == ["other/1"]
    again = shelf.promote("net/2", name="other", force=True)
    assert again.registered and shelf.holder(name="other") == "other/2"
    back = shelf.promote("net/1", name="other")
    assert not back.registered and back.model == "other/1"
    # Under its own name where it has several.
    assert shelf.promote(shelf.results[1].run_id).model == "net/1"


def test_a_model_that_was_never_registered_goes_by_its_experiments_name(shelf: Shelf) -> None:
    for version in list_models(shelf.uri):
        if version.run_id == shelf.results[6].run_id:
            shelf.client.delete_model_version(version.name, str(version.version))
    done = shelf.promote(shelf.results[6].folder, alias="fresh")
    assert done.registered and done.model == "net/7" == shelf.holder(alias="fresh")


def test_a_stop_between_the_record_and_the_alias_is_made_good(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    shelf.point(2, alias="bad")
    with monkeypatch.context() as patch:
        patch.setattr(promotion, "set_alias", stop)
        with pytest.raises(KeyboardInterrupt):
            shelf.promote("net/3", alias="bad")
    assert shelf.holder(alias="bad") == "net/2"
    shelf.promote("net/3", alias="bad")
    assert shelf.holder(alias="bad") == "net/3"
    history = shelf.client.get_metric_history(shelf.results[3].run_id, "promote.test_accuracy_before")
    assert [row.value for row in history][-1] == pytest.approx(accuracy(shelf, 2))


def test_an_alias_that_somebody_else_moves_meanwhile_is_left(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = promotion.run_test

    def slowly(subject: Any) -> Figures:
        shelf.point(3, alias="staging")
        return measure(subject)

    shelf.point(2, alias="staging")
    monkeypatch.setattr(promotion, "run_test", slowly)
    with pytest.raises(RunError, match=r"staging of net has moved to net/.* meanwhile"):
        shelf.promote("net/1", alias="staging")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "test_acuracy"}, "did you mean 'test_accuracy'"),
        ({"metric": "val_accuracy"}, "metric: no 'val_accuracy'"),
        ({"alias": "latest"}, "not 'latest'"),
        ({"alias": "v3"}, "got 'v3'"),
        ({"alias": "a b"}, "letters, digits"),
        ({"alias": ""}, "letters, digits"),
        ({"name": "a/b"}, "'a_b' would be right"),
    ],
)
def test_a_wrong_argument_is_told(shelf: Shelf, options: dict[str, str], message: str) -> None:
    before = shelf.state()
    with pytest.raises(ConfigError, match=message):
        shelf.promote("net/2", **options)
    assert shelf.state() == before


def test_a_folder_of_files_is_of_no_store(shelf: Shelf, tmp_path: Path) -> None:
    files = fetch_files(find_stored("net/1", uri=shelf.uri))
    for name in (ABOUT, WEIGHTS):
        (tmp_path / name).write_bytes((files / name).read_bytes())
    with pytest.raises(RunError, match="is in no store"):
        shelf.promote(tmp_path)


@pytest.mark.parametrize(
    ("value", "before", "passes"),
    [
        (math.nan, 0.5, False),
        (math.nan, math.nan, False),
        (0.1, math.nan, True),
        (0.5, 0.5, True),
        (0.5 - 1e-9, 0.5, False),
    ],
)
def test_what_is_no_number_beats_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, value: float, before: float, passes: bool
) -> None:
    figures = iter([value, before])
    made = lambda _: Figures({"test_accuracy": next(figures)}, "d", 9, ("a",))  # noqa: E731
    monkeypatch.setattr(promotion, "run_test", made)
    shelf.point(2, alias="bad")
    if passes:
        assert shelf.promote("net/1", alias="bad").changed
        return
    with pytest.raises(RunError, match="worse") as refused:
        shelf.promote("net/1", alias="bad")
    figures_said = str(refused.value).split("test_accuracy ")[1].split(" on ")[0].split(" against ")
    assert len(set(figures_said)) == 2 or math.isnan(before)


def test_another_task_has_no_such_metric(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([{"test_accuracy": 0.5}, {"test_mse": 0.5}])
    monkeypatch.setattr(promotion, "run_test", lambda _: Figures(next(answers), "d", 9, ("a",)))
    shelf.point(2, alias="bad")
    with pytest.raises(RunError, match="has no test_accuracy"):
        shelf.promote("net/1", alias="bad")


@pytest.mark.parametrize("metrics", [{"test_loss": 0.5, "test_mse": 0.2}, {"test_mse": 0.5}])
def test_without_an_accuracy_less_loss_is_better(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, metrics: dict[str, float]
) -> None:
    worse = {name: value + 0.1 for name, value in metrics.items()}
    answers = iter([metrics, worse])
    monkeypatch.setattr(promotion, "run_test", lambda _: Figures(next(answers), "d", 9, ("a",)))
    shelf.point(2, alias="bad")
    assert shelf.promote("net/1", alias="bad").metric == next(iter(metrics))


def test_examples_are_the_same_in_any_order_of_them_and_of_the_classes(shelf: Shelf) -> None:
    inputs, targets = torch.rand(7, 3), torch.tensor([0, 1, 2, 0, 1, 2, 0])

    def keys(x: torch.Tensor, y: torch.Tensor, classes: tuple[str, ...], *, size: int = 7) -> list[bytes]:
        found: list[bytes] = []
        batches = zip(x.split(size), y.split(size), strict=True)
        assert sum(len(seen) for _, seen in tested._seen(batches, classes, keys=found)) == len(x)
        return sorted(found)

    known = keys(inputs, targets, ("a", "b", "c"))
    order = torch.tensor([3, 1, 6, 0, 2, 5, 4])
    assert keys(inputs[order], targets[order], ("a", "b", "c"), size=2) == known
    assert keys(inputs, 2 - targets, ("c", "b", "a")) == known
    assert keys(inputs, 2 - targets, ("a", "b", "c")) != known
    changed = inputs.clone()
    changed[6, 2] = torch.nextafter(changed[6, 2], torch.tensor(2.0))
    assert keys(changed, targets, ("a", "b", "c")) != known
    assert keys(inputs.view(7, 1, 1, 3), targets, ("a", "b", "c")) != known


def test_classes_are_compared_by_name() -> None:
    one = Figures({}, "d", 9, ("cat", "dog"))
    assert one.difference(replace(one, classes=("dog", "cat"))) == ""
    said = one.difference(replace(one, classes=("cat", "emu", "fox")))
    assert said == "it knows other classes: has 'dog', lacks 'emu', 'fox'"
    many = replace(one, classes=tuple(f"c{k}" for k in range(100)))
    assert "and 95 more" in many.difference(one)


def test_what_is_measured_is_what_training_measured(shelf: Shelf) -> None:
    found = run_test(open_subject("net/2", root=shelf.folder / "runs", tracking=shelf.uri))
    for name in ("test_accuracy", "test_f1_macro"):
        assert found.metrics[name] == pytest.approx(shelf.results[2].metrics[name], abs=1e-12)
    assert found.num_examples == 359


def test_the_command_says_it_and_ends_with_2(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nnray_command = caller(monkeypatch, capsys)
    places = ("--dir", str(shelf.folder / "runs"), "--tracking", shelf.uri)
    code, out, err = nnray_command("promote", "net/2", *places)
    assert (code, out, len(err.splitlines())) == (2, "", 1) and "worse" in err
    code, out, err = nnray_command("promote", "net/3", "--json", *places)
    told = json.loads(out.splitlines()[-1])
    assert (code, told["model"], told["replaced"], told["verb"]) == (0, "net/3", "net/1", "promote")
    code, out, _ = nnray_command("models", "net", "--tracking", shelf.uri)
    row = next(line for line in out.splitlines() if line.startswith("net/3"))
    assert row.split()[1] == "champion" and f"{accuracy(shelf, 3):.4f}" in row
    assert max(map(len, out.splitlines())) <= 80


def test_a_subject_without_a_run_folder_is_promoted_too(
    shelf: Shelf, trained: Trained, tmp_path: Path
) -> None:
    subject = open_subject(trained.result.model_uri, root=tmp_path, tracking=trained.tracking)
    done = promote_model(subject, Request(alias="shown"), root=tmp_path)
    assert done.model.startswith("plain/") and done.run_id == trained.result.run_id
