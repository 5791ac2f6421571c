"""The folder of a run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nnray.config import Experiment
from nnray.errors import RunError
from nnray.runners.folder import RunFolder, create, find, last, runs

MakeRun = Callable[..., RunFolder]


def test_the_experiment_comes_back_as_it_was(
    make_run: MakeRun, make_experiment: Callable[..., Experiment]
) -> None:
    run = make_run(epochs=7)
    assert run.experiment == make_experiment(epochs=7)
    assert run.record["status"] == "running"
    assert run.result is None


def test_a_result_ends_a_run(make_run: MakeRun) -> None:
    run = make_run()
    run.update(seconds=1.5)
    run.finish({"run_id": "abc"})
    assert run.record["status"] == "finished"
    assert run.record["seconds"] == 1.5
    assert run.result == {"run_id": "abc"}


def test_runs_are_found_by_name_path_and_mlflow_id(make_run: MakeRun) -> None:
    first, second = make_run(), make_run()
    first.finish({"run_id": "0123abcd" * 4})
    root = first.path.parent
    assert find(first.name, root=root) == first
    assert find(str(second.path), root=Path("elsewhere")) == second
    assert find("0123abcd" * 4, root=root) == first
    assert last(root) == second
    assert [run.name for run in runs(root)] == [second.name, first.name]


def test_a_run_that_was_cut_off_is_found_by_the_id_that_its_store_knows(
    make_run: MakeRun, tmp_path: Path
) -> None:
    """Of a nested run's id, the run that it is nested in."""
    from nnray.tracking.client import make_client
    from nnray.tracking.database import create_database

    create_database(tmp_path / "store.db")
    uri = f"sqlite:///{tmp_path}/store.db"
    run = make_run()
    run.update(tracking_uri=uri)
    client = make_client(uri)
    keys = (run.name, f"{run.name}/0003", "another-run")
    own, trial, other = (client.create_run("0", tags={"nnray.run": key}).info.run_id for key in keys)
    root = run.path.parent
    assert find(own, root=root) == find(trial, root=root) == run
    for unknown in (other, "f" * 32):
        with pytest.raises(RunError, match="no run"):
            find(unknown, root=root)


def test_a_run_that_is_not_there_is_named_with_those_that_are(make_run: MakeRun) -> None:
    run = make_run()
    with pytest.raises(RunError, match=rf"no run 'nope' .*{run.name}"):
        find("nope", root=run.path.parent)
    with pytest.raises(RunError, match="start one with"):
        last(Path("empty"))


def test_a_half_made_folder_is_no_run(make_run: MakeRun) -> None:
    run = make_run()
    half = run.path.parent / ".digits-train-half.tmp"
    half.mkdir()
    (half / "run.json").write_text("{}")
    assert list(runs(run.path.parent)) == [run]


def test_a_folder_that_cannot_be_made_says_so_and_leaves_nothing(
    make_experiment: Callable[..., Experiment],
) -> None:
    Path("runs").write_text("a file where the folder should be")
    with pytest.raises(RunError, match=r"set tracking\.dir"):
        create(make_experiment(), "train")
    assert Path("runs").is_file()


def test_two_processes_cannot_hold_one_run(make_run: MakeRun) -> None:
    run = make_run()
    program = (
        "import sys; from pathlib import Path; from nnray.runners.folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).held(): pass"
    )
    attempt = [sys.executable, "-c", program, str(run.path)]
    with run.held():
        other = subprocess.run(attempt, capture_output=True, text=True, check=False)
        assert "is being run by another process" in other.stderr
    assert subprocess.run(attempt, check=False).returncode == 0
