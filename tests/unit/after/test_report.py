"""The page of a run: from its folder, and from the store alone."""

from __future__ import annotations

import base64
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import nnray
from nnray.config import Experiment
from nnray.errors import NnrayError, RunError, TrackingError
from nnray.runners.folder import RunFolder
from nnray.runners.report.account import Account
from nnray.runners.report.facts import lead
from nnray.runners.report.findings import TITLES
from nnray.runners.report.write import open_account, render, report
from nnray.runners.results import RunResult
from nnray.tracking import MetricRow, MlflowTracker
from tests.unit.after.conftest import Trained

FEDERATED = """
name: shared
data: {name: digits, limit: 300}
model: {name: mlp, hidden: [8]}
federated: {workers: 0, clients: 5, rounds: 3, holdout: 0.2}
"""


@pytest.fixture
def copy(trained: Trained, tmp_path: Path) -> RunFolder:
    """The folder of a run that a test may change, without what other tests have found out about it."""
    folder = trained.result.folder
    later = shutil.ignore_patterns(*(f"{verb}-*" for verb in TITLES))
    return RunFolder(shutil.copytree(folder, tmp_path / folder.name, ignore=later))


def of_store(trained: Trained, tmp_path: Path) -> Account:
    """The account of a run whose folder is gone."""
    return open_account(trained.result.run_id, root=tmp_path, tracking=trained.tracking)


def test_the_page_says_what_the_run_came_to(trained: Trained) -> None:
    written = nnray.report(trained.result)
    (file,) = written.files
    html = Path(file).read_text()
    assert Path(file) == trained.result.folder / "report.html"
    assert f"{trained.result.metrics['test_accuracy']:.4f}" in html
    assert trained.result.model_sha256 in html
    assert f"the model is that of epoch {trained.result.epoch} of {trained.result.epochs}" in html
    assert "nnray train config.yaml" in html
    assert "<h2>Curves</h2>" in html
    assert len(html) < 1_000_000


def test_a_run_goes_by_name_path_and_id(trained: Trained) -> None:
    result = trained.result
    for reference in (result.folder.name, str(result.folder), result.run_id):
        account = open_account(reference, root=trained.root, tracking=trained.tracking)
        assert (account.name, account.folder) == (result.folder.name, result.folder)


@pytest.mark.parametrize("form", ["{name}", "{name}@champion", "{name}/1", "models:/{name}@champion", "{id}"])
def test_a_model_s_name_leads_to_the_run_that_made_it(form: str, trained: Trained, tmp_path: Path) -> None:
    result = trained.result
    reference = form.format(name="plain", id=result.model_uri.removeprefix("models:/"))
    near = open_account(reference, root=trained.root, tracking=trained.tracking)
    assert (near.run_id, near.folder) == (result.run_id, result.folder)
    far = open_account(reference, root=tmp_path, tracking=trained.tracking)
    assert (far.run_id, far.folder) == (result.run_id, None)


def test_a_trial_s_model_leads_to_the_trial(tmp_path: Path) -> None:
    """A sweep's champion is of a trial's run, which has no folder of its own."""
    tracker = MlflowTracker(f"sqlite:///{tmp_path}/mlflow.db", experiment="swept")
    sweep = tracker.start_run(name="s", verb="sweep", key="swept-1")
    trial = tracker.start_run(name="s-0003", verb="train", key="swept-1/0003", parent=sweep)
    tracker.log_metrics(trial, [MetricRow("val_accuracy", 0.75, 2, 1)])
    tracker.log_model(trial, module=nn.Linear(4, 3), example=np.zeros((2, 4), np.float32), step=2)
    tracker.register(trial, "net", step=2)
    tracker.end_run(trial)
    tracker.end_run(sweep)
    assert not tracker.close(60.0)
    account = open_account("net", root=tmp_path, tracking=tracker.uri)
    assert (account.name, account.metrics["val_accuracy"]) == ("s-0003", 0.75)
    assert account.notes[0] == "a part of swept-1, which has a page of its own: `nnray report swept-1`"
    assert "<h2>Results</h2>" in render(account)
    (written,) = report("net", root=tmp_path, tracking=tracker.uri).files
    assert Path(written).name == "swept-1-0003.html"


def test_the_store_alone_tells_the_same(trained: Trained, tmp_path: Path) -> None:
    near = open_account(str(trained.result.folder), root=trained.root)
    far = of_store(trained, tmp_path)
    assert far.folder is None
    assert far.experiment == near.experiment
    assert far.history == near.history
    assert (far.verb, far.state, far.run_id) == (near.verb, near.state, near.run_id)
    assert far.result["epoch"] == near.result["epoch"]
    assert far.result["model_sha256"] == near.result["model_sha256"]
    named = [name for name in near.metrics if name.startswith(("val_", "test_"))]
    assert {n: far.metrics[n] for n in named} == {n: near.metrics[n] for n in named}
    assert far.data == near.data
    assert far.tags["mlflow.user"] == near.tags["mlflow.user"]


def test_without_a_folder_the_page_goes_here_and_says_so(trained: Trained, tmp_path: Path) -> None:
    written = report(trained.result.run_id, root=tmp_path / "none", tracking=trained.tracking)
    assert written.files == [str(tmp_path / f"{trained.result.folder.name}.html")]
    assert "folder is not here" in Path(written.files[0]).read_text()


def test_a_run_is_found_by_its_name_in_the_store(trained: Trained, tmp_path: Path) -> None:
    account = open_account(trained.result.folder.name, root=tmp_path, tracking=trained.tracking)
    assert account.run_id == trained.result.run_id


def test_a_store_that_is_away_leaves_the_rest_of_the_page(copy: RunFolder, tmp_path: Path) -> None:
    copy.update(tracking_uri=f"sqlite:///{tmp_path}/gone.db")
    account = open_account(str(copy.path), root=tmp_path)
    assert account.history
    assert any("gone.db" in note for note in account.notes)
    assert "no tracking store" in render(account)
    assert not (tmp_path / "gone.db").exists()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"status": "interrupted"}, "was interrupted before its end"),
        ({"status": "failed", "error": "loss is <nan>"}, "This run failed: loss is &lt;nan&gt;"),
        ({"status": "running"}, "gone without a word"),
    ],
)
def test_a_run_without_an_end_says_how_it_stands(
    copy: RunFolder, tmp_path: Path, fields: dict[str, str], said: str
) -> None:
    (copy.path / "result.json").unlink()
    (copy.path / "lease.json").unlink(missing_ok=True)
    copy.update(**fields)
    html = render(open_account(str(copy.path), root=tmp_path))
    assert said in html
    assert f"nnray resume {copy.name}" in html


def test_a_run_that_goes_on_is_shown_as_far_as_it_has_come(copy: RunFolder, tmp_path: Path) -> None:
    (copy.path / "result.json").unlink()
    copy.update(status="running")
    lines = (copy.path / "history.jsonl").read_text().splitlines(keepends=True)
    (copy.path / "history.jsonl").write_text("".join(lines[:2]) + lines[2][:20])
    with copy.held():
        account = open_account(str(copy.path), root=tmp_path)
    assert account.state == "running"
    assert [step for step, _ in account.history["val_loss"]] == [1, 2]
    assert "has not ended" in render(account)


def test_a_run_that_has_just_begun_has_a_page(copy: RunFolder, tmp_path: Path) -> None:
    for name in ("result.json", "history.jsonl"):
        (copy.path / name).unlink()
    record = {k: v for k, v in copy.record.items() if k in ("version", "verb", "created", "status", "search")}
    (copy.path / "run.json").write_text(json.dumps(record | {"status": "failed", "error": "no data"}))
    html = render(open_account(str(copy.path), root=tmp_path))
    assert "no data" in html
    assert "<h2>Curves</h2>" not in html


def test_a_loss_that_was_not_finite_leaves_a_gap(copy: RunFolder, tmp_path: Path) -> None:
    path = copy.path / "history.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]["metrics"]["val_loss"] = math.nan
    lines[2]["metrics"]["train_loss"] = math.inf
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert "<h2>Curves</h2>" in render(open_account(str(copy.path), root=tmp_path))


def test_findings_of_later_verbs_are_shown(copy: RunFolder, tmp_path: Path) -> None:
    before = render(open_account(str(copy.path), root=tmp_path)).count("<img ")
    for stamp, byte in (("20260101-000000-aaaa", b"old"), ("20260102-000000-bbbb", b"new")):
        below = copy.path / f"evaluate-{stamp}"
        below.mkdir()
        (below / "seen.png").write_bytes(b"\x89PNG" + byte)
        (below / "mistakes.txt").write_text("<b>7 for 1</b>")
    html = render(open_account(str(copy.path), root=tmp_path))
    assert "<h2>Evaluation</h2>" in html
    assert html.count("<img ") == before + 1
    assert base64.b64encode(b"\x89PNGnew").decode() in html  # the newest of the two
    assert "&lt;b&gt;7 for 1&lt;/b&gt;" in html


def test_hostile_names_are_text(copy: RunFolder, tmp_path: Path) -> None:
    owned = "<script>document.title='owned'</script>"
    lines = [{"epoch": 1, "metrics": {f"val_{owned}": 1.0, "val_loss": 1.0}}]
    (copy.path / "history.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    copy.update(faults=[owned])
    (copy.path / "result.json").unlink()
    below = copy.path / f"attack-1-2-{owned.replace('/', '')}"
    below.mkdir()
    (below / f"{owned.replace('/', '')}.png").write_bytes(b"\x89PNG")
    account = open_account(str(copy.path), root=tmp_path)
    html = render(
        Account(
            **{name: getattr(account, name) for name in Account.__dataclass_fields__}
            | {"name": owned, "data": {"classes": [owned] * 10, "name": owned}, "tags": {"version.x": owned}}
        )
    )
    assert html.count("<script>") == 1
    assert html.count("&lt;script&gt;") > 5


def test_epsilon_stands_with_delta_and_with_who_is_protected(trained: Trained) -> None:
    account = open_account(str(trained.result.folder), root=trained.root)
    assert account.experiment is not None and "epsilon" not in lead(account)
    privacy = {"unit": "example", "epsilon": 3.0, "delta": 1e-5, "clip_norm": 1.0}
    experiment = Experiment.model_validate(account.experiment.model_dump() | {"privacy": privacy})
    spent = {"experiment": experiment, "result": {"metrics": {"epsilon": 2.5}}}
    fields = {name: getattr(account, name) for name in Account.__dataclass_fields__}
    assert "<b>2.5000</b><span>epsilon spent, at delta 1e-05, for each example<" in lead(
        Account(**fields | spent)
    )


def test_passwords_of_stores_stay_out(copy: RunFolder, tmp_path: Path) -> None:
    account = open_account(str(copy.path), root=tmp_path)
    fields = {name: getattr(account, name) for name in Account.__dataclass_fields__}
    uri = "postgresql://me:secret@db/mlflow"
    assert "secret" not in render(Account(**fields | {"tracking_uri": uri}))


def test_a_run_that_is_not_there_is_named_with_those_that_are(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=trained.result.folder.name):
        open_account("nothing", root=trained.root, tracking=trained.tracking)
    with pytest.raises(TrackingError, match="no tracking store"):
        open_account("nothing", root=tmp_path, tracking=f"sqlite:///{tmp_path}/none.db")
    assert not (tmp_path / "none.db").exists()


def test_a_file_that_cannot_be_written_is_said(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(NnrayError, match="--out"):
        report(str(trained.result.folder), out=tmp_path / "no" / "such" / "page.html")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A federated run."""
    folder = tmp_path_factory.mktemp("shared")
    file = folder / "e.yaml"
    file.write_text(FEDERATED)
    places = [f"tracking.uri=sqlite:///{folder}/mlflow.db", f"tracking.dir={folder}/runs"]
    result = nnray.federate(file, places, quiet=True)
    assert isinstance(result.folder, Path)
    return Trained(_as_run(result.to_dict()), folder)


def _as_run(fields: dict[str, object]) -> RunResult:
    kept = {name: fields[name] for name in fields if name in RunResult.__dataclass_fields__}
    return RunResult.from_dict(kept | {"epochs": 0, "epoch": 0})


def test_a_federated_run_has_rounds_clients_and_traffic(shared: Trained) -> None:
    html = render(open_account(str(shared.result.folder), root=shared.root))
    for heading in ("Curves", "Federation", "Rounds", "Clients", "Results", "Settings", "Provenance"):
        assert f"<h2>{heading}</h2>" in html
    assert "5 clients took part" in html
    assert "Sent up to each round" in html
    assert "nnray federate config.yaml" in html


def test_the_store_alone_tells_the_same_of_a_federated_run(shared: Trained, tmp_path: Path) -> None:
    near = open_account(str(shared.result.folder), root=shared.root)
    far = of_store(shared, tmp_path)
    assert far.history == near.history
    assert "5 clients took part" in render(far)


@pytest.fixture
def failing(shared: Trained, tmp_path: Path) -> Callable[[str], RunFolder]:
    """A federated run in which a client failed."""

    def make(error: str) -> RunFolder:
        run = RunFolder(shutil.copytree(shared.result.folder, tmp_path / shared.result.folder.name))
        path = run.path / "history.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines[0]["failures"] = [{"client": 3, "error": error, "trace": "", "fate": "left out"}]
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        return run

    return make


def test_failed_clients_are_named_with_their_errors(
    failing: Callable[[str], RunFolder], tmp_path: Path
) -> None:
    html = render(open_account(str(failing("OSError: <disk>").path), root=tmp_path))
    assert "<h2>Failures</h2>" in html
    assert "OSError: &lt;disk&gt;" in html
