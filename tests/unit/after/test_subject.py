"""Every name that people have for a model leads to it, and to its weights bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from nnray.assembly.described import ABOUT, WEIGHTS
from nnray.errors import DataError, RunError
from nnray.runners.findings import findings
from nnray.runners.subject import open_subject
from nnray.tracking.stored import fetch_files, find_stored
from nnray.training.weights import weights_sha256
from tests.unit.after.conftest import Trained


def names_of(trained: Trained) -> dict[str, str]:
    result = trained.result
    return {
        "folder's name": result.folder.name,
        "folder's path": str(result.folder),
        "run id": result.run_id,
        "run id in a URI": f"runs:/{result.run_id}/model",
        "registered name": "plain",
        "alias": "plain@champion",
        "version": "plain/1",
        "version in a URI": "models:/plain/1",
        "model's URI": result.model_uri,
        "model's id": result.model_uri.removeprefix("models:/"),
    }


@pytest.mark.parametrize(
    "kind",
    [
        *("folder's name", "folder's path", "run id", "run id in a URI", "registered name", "alias"),
        *("version", "version in a URI", "model's URI", "model's id"),
    ],
)
def test_every_name_leads_to_the_model(kind: str, trained: Trained) -> None:
    subject = open_subject(names_of(trained)[kind], root=trained.root, tracking=trained.tracking)
    assert weights_sha256(subject.module) == subject.sha256 == trained.result.model_sha256
    assert subject.origin.run_id == trained.result.run_id
    assert subject.origin.folder == trained.result.folder
    assert subject.experiment.name == "plain" and subject.info.num_classes == 10


def test_a_run_is_found_where_its_folder_is_gone(trained: Trained, tmp_path: Path) -> None:
    subject = open_subject(trained.result.run_id, root=tmp_path, tracking=trained.tracking)
    assert subject.sha256 == trained.result.model_sha256 and subject.origin.folder is None


def test_the_model_measures_as_it_did_when_it_was_trained(trained: Trained) -> None:
    from nnray.evaluation.evaluate import evaluate

    subject = open_subject(trained.result.run_id, root=trained.root)
    for part in ("val", "test"):
        sums = evaluate(subject.module, subject.batches(part).epoch(0), subject.task)
        measured = subject.task.summarize(sums)["accuracy"]
        assert measured == pytest.approx(trained.result.metrics[f"{part}_accuracy"], abs=1e-12)


def test_batch_sizes_are_as_asked_for(trained: Trained) -> None:
    subject = open_subject(trained.result.run_id, root=trained.root)
    sizes = [len(y) for _, y in subject.batches("test", batch_size=100).epoch(0)]
    assert sizes[:-1] == [100] * (len(sizes) - 1) and sum(sizes) == len(subject.examples("test"))


@pytest.mark.parametrize("reference", ["nothing", "plain@nothing", "plain/99", "m-" + "0" * 32, "0" * 32])
def test_a_name_of_nothing_is_said(reference: str, trained: Trained) -> None:
    with pytest.raises(RunError, match="no model"):
        open_subject(reference, root=trained.root, tracking=trained.tracking)


def test_a_run_that_has_not_ended_has_no_model(trained: Trained, tmp_path: Path) -> None:
    from nnray.config import load
    from nnray.runners.folder import create

    experiment = load(trained.folder / "plain.yaml", [f"tracking.dir={tmp_path}"])
    run = create(experiment, "train")
    with pytest.raises(RunError, match=f"nnray resume {run.name}"):
        open_subject(run.name, root=tmp_path)


def test_other_data_than_those_trained_on_are_refused(trained: Trained) -> None:
    subject = open_subject(trained.result.run_id, root=trained.root)
    data = subject.experiment.data.model_copy(update={"limit": 100})
    other = subject.experiment.model_copy(update={"data": data})
    with pytest.raises(DataError, match="not the examples"):
        replace(subject, experiment=other).splits()


@pytest.fixture
def copied(trained: Trained, tmp_path: Path) -> Path:
    """The model's files, as somebody might hand them on."""
    files = fetch_files(find_stored(trained.result.model_uri, uri=trained.tracking))
    folder = tmp_path / "copied"
    folder.mkdir()
    for name in ("MLmodel", ABOUT, WEIGHTS):
        (folder / name).write_bytes((files / name).read_bytes())
    return folder


def test_a_folder_of_files_is_opened(copied: Path, trained: Trained, tmp_path: Path) -> None:
    subject = open_subject(str(copied), root=tmp_path, tracking=f"sqlite:///{tmp_path}/other.db")
    assert subject.sha256 == trained.result.model_sha256 and not subject.origin.run_id


def test_damaged_weights_of_the_store_are_refused(trained: Trained, tmp_path: Path) -> None:
    stored = find_stored(trained.result.model_uri, uri=trained.tracking)
    path = fetch_files(stored) / WEIGHTS
    good = path.read_bytes()
    try:
        path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        with pytest.raises(RunError, match="not those that were logged"):
            open_subject(trained.result.model_uri, root=trained.root, tracking=trained.tracking)
        path.write_bytes(good[:100])
        with pytest.raises(RunError, match="unreadable weights"):
            open_subject(trained.result.model_uri, root=trained.root, tracking=trained.tracking)
    finally:
        path.write_bytes(good)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"{", "not a description"),
        (b'{"version": 2}', "version 2"),
        (b'{"version": 1}', "describes neither"),
        (b"[]", "version None"),
    ],
)
def test_a_description_that_is_none_is_said(data: bytes, word: str, copied: Path) -> None:
    (copied / ABOUT).write_bytes(data)
    with pytest.raises(RunError, match=word):
        open_subject(str(copied))


def test_half_a_copy_is_said(copied: Path) -> None:
    (copied / WEIGHTS).unlink()
    with pytest.raises(RunError, match="copied in part"):
        open_subject(str(copied))


def test_findings_are_recorded_once_and_changes_at_the_next_step(trained: Trained) -> None:
    subject = open_subject(trained.result.run_id, root=trained.root)
    for value in (0.5, 0.5, 0.75, 0.75):
        with findings(subject, "evaluate", root=trained.root) as found:
            found.metrics({"once": value})
            found.text(f"{value}\n", "note.txt")
    client = MlflowClient(trained.tracking)
    history = client.get_metric_history(subject.origin.run_id, "evaluate.once")
    assert [(row.step, row.value) for row in history] == [(0, 0.5), (1, 0.75)]
    paths = [file.path for file in client.list_artifacts(subject.origin.run_id, "evaluate")]
    assert paths.count("evaluate/note.txt") == 1


def test_nothing_is_recorded_of_a_verb_that_fails(trained: Trained) -> None:
    subject = open_subject(trained.result.run_id, root=trained.root)
    assert subject.origin.folder is not None
    before = set(subject.origin.folder.iterdir())  # other tests' verbs have written there

    def fail() -> None:
        with findings(subject, "explain", root=trained.root) as found:
            found.metrics({"half": 0.5})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    run = MlflowClient(trained.tracking).get_run(subject.origin.run_id)
    assert "explain.half" not in run.data.metrics
    assert set(subject.origin.folder.iterdir()) == before


def test_files_of_a_verb_that_fails_stay(trained: Trained, tmp_path: Path) -> None:
    subject = open_subject(trained.result.run_id, root=trained.root)
    written: list[Path] = []

    def fail(out: Path | None, text: str) -> None:
        with findings(subject, "tell", root=trained.root, out=out) as found:
            if text:
                written.append(found.text(text, "note.txt"))
            raise ZeroDivisionError

    for out, text in ((None, "as far as it came\n"), (tmp_path / "asked for", "")):
        with pytest.raises(ZeroDivisionError):
            fail(out, text)
    assert [path.read_text() for path in written] == ["as far as it came\n"]
    assert (tmp_path / "asked for").is_dir()


def test_a_model_that_was_made_of_another_is_found_again(trained: Trained) -> None:
    subject = open_subject(trained.result.run_id, root=trained.root)
    with torch.no_grad():
        next(subject.module.parameters()).zero_()
    with findings(subject, "compress", root=trained.root) as found:
        record = found.model(
            subject.module, about=subject.about, params={"sparsity": 1}, metrics={"x": 1.0}, register="made"
        )
    made = open_subject("made@candidate", root=trained.root, tracking=trained.tracking)
    assert made.sha256 == record.sha256 == weights_sha256(subject.module) != subject.sha256
    run = MlflowClient(trained.tracking).get_run(made.origin.run_id)
    assert run.data.tags["mlflow.parentRunId"] == subject.origin.run_id
    assert run.info.status == "FINISHED" and run.data.params == {"sparsity": "1"}
    assert run.data.metrics == {"x": 1.0}


def test_what_is_found_about_strangers_is_kept_in_files(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subject = open_subject(str(copied), tracking=f"sqlite:///{tmp_path}/other.db")
    with findings(subject, "evaluate", root=tmp_path) as found:
        path = found.text("fine\n", "note.txt")
        found.metrics({"accuracy": 1.0})
    assert path.read_text() == "fine\n" and "recorded nowhere" in capsys.readouterr().err
    assert not (tmp_path / "other.db").exists()
