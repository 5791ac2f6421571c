"""Training in this process: recorded once, resumed exactly."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nnray.config import with_overrides
from nnray.errors import ConfigError, DataError, DivergedError
from nnray.runners import local
from nnray.runners.display import Lines, Quiet
from nnray.runners.folder import RunFolder
from nnray.runners.results import RunResult
from nnray.runners.training import History
from nnray.tracking import MemoryTracker
from nnray.training import checkpoint
from nnray.training.loop import EpochReport
from nnray.training.storage import LocalFolder

MakeRun = Callable[..., RunFolder]
TIMED = ("samples_per_s", "epoch_seconds")


class Killed(BaseException):
    """Stands for a SIGKILL: no handler of nnray's may see it."""


@pytest.fixture
def tracker() -> Iterator[MemoryTracker]:
    made = MemoryTracker()
    yield made
    made.close()


def _train(run: RunFolder, tracker: MemoryTracker) -> RunResult:
    result = local.train(run.experiment, run, tracker=tracker, display=Quiet())
    tracker.flush()
    return result


def _rows(tracker: MemoryTracker, run: RunFolder) -> list[tuple[str, int, float]]:
    rows = tracker.runs[run.name].rows
    return sorted((row.key, row.step, row.value) for row in rows if row.key not in TIMED)


def test_everything_is_recorded(make_run: MakeRun, tracker: MemoryTracker) -> None:
    run = make_run()
    result = _train(run, tracker)
    recorded = tracker.runs[run.name]
    assert recorded.status == "FINISHED"
    assert recorded.params["optimizer.lr"] == "0.003"
    assert recorded.params["training.epochs"] == "4"
    assert [step for step, _ in recorded.history("val_accuracy")] == [1, 2, 3, 4]
    assert recorded.history("test_accuracy") == [(0, result.metrics["test_accuracy"])]
    assert "config.yaml" in recorded.files
    assert b"\ntorch==" in recorded.files["environment.txt"]
    assert recorded.datasets[0]["name"] == "digits"
    assert list(recorded.models) == [("model", result.epoch)]
    assert tracker.registered["digits"]["champion"]


def test_the_result_holds_what_scripts_rely_on(make_run: MakeRun, tracker: MemoryTracker) -> None:
    run = make_run()
    saved = _train(run, tracker).to_dict()
    assert {
        "run_id",
        "verb",
        "seconds",
        "metrics",
        "model_uri",
        "model_sha256",
        "tracking_uri",
        "epochs",
    } <= set(saved)
    assert saved["verb"] == "train"
    assert len(saved["model_sha256"]) == 64
    assert RunResult.from_dict(saved).to_dict() == saved
    assert "<table>" in RunResult.from_dict(saved)._repr_html_()


def test_a_finished_run_gives_its_result_again(make_run: MakeRun, tracker: MemoryTracker) -> None:
    run = make_run()
    first = _train(run, tracker)
    rows = _rows(tracker, run)
    assert _train(run, tracker) == first
    assert _rows(tracker, run) == rows


@pytest.mark.parametrize("epoch", [1, 3, 4])
@pytest.mark.parametrize("moment", ["record", "save", "log_metrics"])
def test_a_run_killed_at_any_stage_goes_on_to_the_same_end(
    make_run: MakeRun, tracker: MemoryTracker, monkeypatch: pytest.MonkeyPatch, epoch: int, moment: str
) -> None:
    """Killed before an epoch's line, before its checkpoint, or before its metrics are handed on."""
    whole, cut = make_run(), make_run()
    expected = _train(whole, tracker)
    with monkeypatch.context() as patch:
        _kill(patch, moment, epoch)
        with pytest.raises(Killed):
            _train(cut, tracker)
    resumed = _train(cut, tracker)
    assert resumed.model_sha256 == expected.model_sha256
    assert _rows(tracker, cut) == _rows(tracker, whole)
    keys = [(row.key, row.step) for row in tracker.runs[cut.name].rows]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("moment", ["log_model", "register", "end_run", "flush", "finish"])
def test_a_run_killed_after_its_last_epoch_ends_as_if_it_had_not_been(
    make_run: MakeRun, tracker: MemoryTracker, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    whole, cut = make_run(), make_run()
    expected = _train(whole, tracker)
    with monkeypatch.context() as patch:
        _kill(patch, moment, 2 if moment == "flush" else 1)
        with pytest.raises(Killed):
            _train(cut, tracker)
    resumed = _train(cut, tracker)
    assert resumed.model_sha256 == expected.model_sha256
    assert _rows(tracker, cut) == _rows(tracker, whole)
    assert tracker.runs[cut.name].status == "FINISHED"
    assert len(tracker.runs[cut.name].models) == 1


def _kill(patch: pytest.MonkeyPatch, moment: str, at: int) -> None:
    calls = 0
    owner: Any = {"record": History, "save": checkpoint, "finish": RunFolder}.get(moment, MemoryTracker)
    original = getattr(owner, moment)

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise Killed
        return original(*args, **kwargs)

    patch.setattr(owner, moment, counted)


def test_a_line_that_stands_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    first = History(LocalFolder(tmp_path)).record(
        EpochReport(1, 10, {"val_loss": 0.5, "samples_per_s": 100.0})
    )
    again = History(LocalFolder(tmp_path)).record(
        EpochReport(1, 10, {"val_loss": 0.5, "samples_per_s": 999.0})
    )
    assert again.replayed
    assert again.report == first.report
    assert again.time_ms == first.time_ms
    assert len(path.read_text().splitlines()) == 1


def test_a_torn_line_is_trained_again(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    History(LocalFolder(tmp_path)).record(EpochReport(1, 10, {"val_loss": 0.5}))
    path.write_bytes(path.read_bytes() + b'{"epoch": 2, "me')
    history = History(LocalFolder(tmp_path))
    assert [record.report.epoch for record in history.upto(9)] == [1]
    history.record(EpochReport(2, 20, {"val_loss": 0.4}))
    assert [record.report.epoch for record in History(LocalFolder(tmp_path)).upto(9)] == [1, 2]


def test_a_damaged_checkpoint_is_passed_over_and_named(
    make_run: MakeRun,
    tracker: MemoryTracker,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, cut = make_run(), make_run()
    expected = _train(whole, tracker)
    with monkeypatch.context() as patch:
        _kill(patch, "record", 4)
        with pytest.raises(Killed):
            _train(cut, tracker)
    (cut.path / "checkpoints" / "epoch-000003" / "state.pt").write_bytes(b"\0" * 100)
    assert _train(cut, tracker).model_sha256 == expected.model_sha256
    assert "epoch-000003" in capsys.readouterr().err


def test_sparse_checkpoints_change_nothing(make_run: MakeRun, tracker: MemoryTracker) -> None:
    often, seldom = make_run(), make_run(checkpoint_every=3)
    assert _train(often, tracker).model_sha256 == _train(seldom, tracker).model_sha256


def test_the_best_epoch_is_the_model(make_run: MakeRun, tracker: MemoryTracker) -> None:
    run = make_run(epochs=5)
    result = _train(run, tracker)
    losses = [value for _, value in tracker.runs[run.name].history("val_loss")]
    assert result.epoch == losses.index(min(losses)) + 1
    assert result.metrics["val_loss"] == min(losses)


def test_a_diverged_run_is_marked_as_failed(make_run: MakeRun, tracker: MemoryTracker) -> None:
    run = make_run()
    experiment = with_overrides(run.experiment, {"optimizer.lr": 1e30})
    with pytest.raises(DivergedError):
        local.train(experiment, run, tracker=tracker, display=Quiet())
    tracker.flush()
    assert tracker.runs[run.name].status == "FAILED"
    assert "DivergedError" in tracker.runs[run.name].tags["nnray.error"]
    assert run.record["status"] == "failed"


def test_ctrl_c_marks_the_run_as_killed(
    make_run: MakeRun, tracker: MemoryTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()

    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _train(run, tracker)
    tracker.flush()
    assert tracker.runs[run.name].status == "KILLED"
    assert run.record["status"] == "interrupted"
    _train(run, tracker)
    assert tracker.runs[run.name].status == "FINISHED"


def test_the_logged_model_scores_what_was_recorded(make_run: MakeRun, tracker: MemoryTracker) -> None:
    from nnray.assembly import load_data

    run = make_run()
    result = _train(run, tracker)
    module = tracker.runs[run.name].modules["model", result.epoch].eval()
    test = load_data(run.experiment).test
    assert test is not None
    examples = test()
    with torch.no_grad():
        predicted = module(examples.inputs.float()).argmax(1)
    accuracy = (predicted == examples.targets).float().mean().item()
    assert accuracy == pytest.approx(result.metrics["test_accuracy"])


def test_too_many_threads_are_refused(make_run: MakeRun, tracker: MemoryTracker) -> None:
    run = make_run(threads=4096)
    with pytest.raises(ConfigError, match="4096 threads on a machine with"):
        _train(run, tracker)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused(make_run: MakeRun, tracker: MemoryTracker) -> None:
    with pytest.raises(ConfigError, match=r"0 such GPU.*training\.device=cpu"):
        _train(make_run(device="cuda"), tracker)


def test_missing_data_is_named(make_run: MakeRun, tracker: MemoryTracker, tmp_path: Path) -> None:
    run = make_run()
    data = run.experiment.data.model_copy(update={"name": "npz", "file": str(tmp_path / "none.npz")})
    with pytest.raises(DataError, match=r"none\.npz"):
        local.train(run.experiment.model_copy(update={"data": data}), run, tracker=tracker, display=Quiet())


def test_a_plain_line_an_epoch_is_shown(
    make_run: MakeRun, tracker: MemoryTracker, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    local.train(run.experiment, run, tracker=tracker, display=Lines())
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [line.split()[1] for line in shown.err.splitlines()[1:]] == ["1/4", "2/4", "3/4", "4/4"]


def test_the_folder_can_be_moved(
    make_run: MakeRun, tracker: MemoryTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    with monkeypatch.context() as patch:
        _kill(patch, "record", 3)
        with pytest.raises(Killed):
            _train(run, tracker)
    moved = RunFolder(Path(shutil.move(run.path, run.path.parent / "moved")))
    assert local.train(moved.experiment, moved, tracker=tracker, display=Quiet()).epochs == 4
