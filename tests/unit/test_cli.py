"""What a person types, and what comes back: one clear message, the right exit code."""

from __future__ import annotations

import errno
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli_calls import Nnray, caller
from tests.unit.runners.job_server import TOKEN, JobServer, running

FILE = """
name: digits
data: {name: digits, limit: 200}
model: {name: mlp, hidden: [16]}
optimizer: {name: adam, lr: 1e-2}
training: {epochs: 2}
"""


@pytest.fixture
def nnray(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Nnray:
    """Run a command; exit code, stdout and stderr come back."""
    Path("e.yaml").write_text(FILE)
    return caller(monkeypatch, capsys)


def test_a_good_file_is_ok(nnray: Nnray) -> None:
    code, out, err = nnray("check", "e.yaml")
    assert (code, err) == (0, "")
    assert "e.yaml: ok" in out


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/root/x"),
            2,
            "error: /root/x: Permission denied",
        ),
        (FileExistsError(errno.EEXIST, "File exists", "report.html"), 2, "error: report.html: File exists"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "error: No space left on device"),
        (OSError(errno.EBADF, "Bad file descriptor"), 1, "a fault of nnray's"),
        (OSError("of no errno"), 1, "a fault of nnray's"),
    ],
)
def test_a_place_that_cannot_be_used_is_no_fault_of_nnray(
    nnray: Nnray, monkeypatch: pytest.MonkeyPatch, error: OSError, code: int, said: str
) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr("nnray.api.schema", refuse)
    ended, _, err = nnray("schema")
    assert (ended, said in err, "Traceback" in err) == (code, True, False)


def test_a_choice_that_is_misspelt_is_said_in_plain_words(nnray: Nnray) -> None:
    code, _, err = nnray("export", "digits", "--format", "onxx")
    assert (code, err) == (
        2,
        "error: Invalid value for '--format': 'onxx' is not one of 'torch-export', 'onnx', 'safetensors'.\n",
    )


def test_all_mistakes_come_at_once_and_exit_2(nnray: Nnray) -> None:
    code, out, err = nnray("check", "e.yaml", "optimizer.lr=-1", "model.dropuot=0.5", "trainig.epochs=3")
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    for part in ("optimizer.lr", "did you mean 'dropout'", "did you mean 'training'"):
        assert part in err


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("check", "none.yaml"), "there is no such file"),
        (("train", "none.yaml"), "there is no such file"),
        (("train", "e.yaml", "training.device=mps"), "training.device"),
        (("train", "e.yaml", "training.threads=5000"), "5000 threads"),
        (("train", "e.yaml", "tracking.uri=mlruns"), "tracking.uri"),
        (("train", "e.yaml", "tracking.dir=e.yaml"), "set tracking.dir"),
        (("sweep", "e.yaml"), "sweep"),
        (("resume", "--last"), "start one with"),
        (("resume", "nope"), "no run 'nope'"),
        (("resume",), "name a run, or give --last"),
        (
            ("sweep", "e.yaml", "sweep.space.optimizer.lr={uniform: [0.1, 0.2]}", "--warm-start", "x"),
            "no run 'x'",
        ),
        (("list", "modls"), "did you mean 'models'"),
        (("frobnicate",), "No such command"),
        (("train",), "Missing argument"),
        (("ui", "--port", "99999999"), "port"),
    ],
)
def test_a_mistake_is_one_message_and_exit_2_and_leaves_nothing(
    nnray: Nnray, args: tuple[str, ...], expected: str
) -> None:
    code, out, err = nnray(*args)
    assert code == 2, err
    assert expected in err
    assert out == ""
    assert "Traceback" not in err
    left = [path.name for path in Path().glob("*") if path.name != "e.yaml"]
    assert left in ([], ["runs"])
    assert not list(Path().glob("runs/*"))


def test_sync_says_that_there_is_nothing_to_send(nnray: Nnray) -> None:
    code, out, err = nnray("sync")
    assert (code, out, err) == (0, "all records of the runs in runs have been sent\n", "")


def test_a_store_that_is_away_holds_nothing_up(nnray: Nnray) -> None:
    away = "tracking.uri=http://127.0.0.1:1"
    code, out, err = nnray("train", "e.yaml", "training.epochs=1", away, "--quiet", "--json")
    assert code == 0, err
    assert json.loads(out)["metrics"]["test_accuracy"] > 0
    assert "can't be used: Connection refused" in err
    assert "records wait in" in err
    assert "`nnray sync` sends them" in err
    code, out, err = nnray("sync")
    assert code == 1
    assert "0 records sent" in out
    assert "still wait: " in out
    code, _, err = nnray("resume", "--last", "--trials", "+2")
    assert code == 2
    assert "only a sweep has trials" in err


def test_debug_shows_the_traceback(nnray: Nnray) -> None:
    code, _, err = nnray("check", "none.yaml", "--debug")
    assert code == 2
    assert "Traceback" in err


def test_a_fault_of_ours_is_named_as_such(nnray: Nnray, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr("nnray.api.load", broken)
    code, _, err = nnray("check", "e.yaml")
    assert code == 1
    assert "RuntimeError: boom" in err
    assert "--debug" in err


def test_divergence_is_a_failure_not_a_mistake(nnray: Nnray) -> None:
    code, _, err = nnray("train", "e.yaml", "optimizer.lr=1e30", "--quiet")
    assert code == 1
    assert "not finite in epoch 1" in err


def test_ctrl_c_prints_the_command_that_goes_on(nnray: Nnray, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nnray.training.checkpoint.save", interrupted)
        code, _, err = nnray("train", "e.yaml", "--quiet")
    assert code == 130
    assert "nnray resume digits-train-" in err
    command = err[err.index("nnray resume") :].split("`")[0].split()[1:]
    code, out, _ = nnray(*command, "--json", "--quiet")
    assert code == 0
    assert json.loads(out)["epochs"] == 2


def test_json_is_the_last_line_and_all_else_goes_to_stderr(nnray: Nnray) -> None:
    code, out, err = nnray("train", "e.yaml", "--json")
    assert code == 0
    (line,) = out.splitlines()
    result = json.loads(line)
    assert result["verb"] == "train"
    assert result["metrics"]["test_accuracy"] > 0.5
    assert "epoch 2/2" in err
    with sqlite3.connect("mlflow.db") as connection:
        assert connection.execute("SELECT run_uuid, status FROM runs").fetchall() == [
            (result["run_id"], "FINISHED")
        ]
    again = nnray("resume", "--last", "--json", "--quiet")
    assert json.loads(again[1]) == result


def test_what_a_person_reads_at_the_end(nnray: Nnray) -> None:
    code, out, _ = nnray("train", "e.yaml", "--quiet")
    assert code == 0
    for word in ("test_accuracy", "models:/", "nnray ui"):
        assert word in out


@pytest.mark.parametrize("kind", ["models", "datasets", "optimizers", "schedules", "augmentations", "tasks"])
def test_listing_names_every_entry_with_its_parameters(nnray: Nnray, kind: str) -> None:
    from nnray.catalog import CATALOG

    code, out, _ = nnray("list", kind)
    assert code == 0
    for name in CATALOG[kind.removesuffix("s")]:
        assert f"\n  {name}" in out


def test_without_a_kind_everything_is_listed_in_a_line_each(nnray: Nnray) -> None:
    from nnray.catalog import CATALOG
    from nnray.registry import plural, summary

    code, out, _ = nnray("list")
    assert code == 0
    *lines, last = out.splitlines()
    assert len(lines) == sum(1 + len(names) for names in CATALOG.values())
    assert "nnray describe KIND NAME" in last
    for kind, names in CATALOG.items():
        below = lines[lines.index(f"{plural(kind)}:") + 1 :][: len(names)]
        assert [line.split(maxsplit=1) for line in below] == [[name, summary(kind, name)] for name in names]
        assert len({line.index(line.split(maxsplit=1)[1]) for line in below}) == 1, "one column"


def test_the_schema_is_json(nnray: Nnray) -> None:
    code, out, _ = nnray("schema")
    assert code == 0
    assert "training" in json.loads(out)["properties"]


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["--version"],
        ["jobs", "--help"],
        ["submit", "--help"],
        ["check", "e.yaml"],
        ["list", "models"],
        ["schema"],
    ],
)
def test_light_commands_import_nothing_heavy(args: list[str]) -> None:
    Path("e.yaml").write_text(FILE)
    program = (
        "import sys\nfrom nnray.cli import main\nsys.argv = ['nnray', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code in (0, None), end.code\n"
        "heavy = {'torch', 'ray', 'mlflow', 'pandas', 'optuna', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program, *args], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("submit", "train", "none.yaml"), "there is no such file"),
        (("submit", "trian", "e.yaml"), "did you mean 'train'"),
        (("submit", "sweep", "e.yaml"), "sweep"),
        (("submit", "train", "e.yaml", "--env", "A_TOKEN=x"), "a secret would be shown"),
        (("submit", "train", "e.yaml", "--address", "http://127.0.0.1:1"), "can't reach the head at"),
        (("jobs", "list", "--address", "ray://head:10001"), "is not the address of a job server"),
        (("jobs", "logs", "x", "--address", "127.0.0.1:1"), "Connection refused"),
        (("jobs", "stop"), "Missing argument"),
        (("train", "e.yaml", "--once", "a/b"), "a name has no '/'"),
    ],
)
def test_mistakes_around_jobs_are_one_message_and_exit_2(
    nnray: Nnray, args: tuple[str, ...], expected: str
) -> None:
    code, out, err = nnray(*args)
    assert code == 2, err
    assert expected in err
    assert out == ""
    assert "Traceback" not in err


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[JobServer]:
    with running() as server:
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", server.url)
        monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
        yield server


def test_a_job_is_shown_as_if_it_ran_here(nnray: Nnray, cluster: JobServer) -> None:
    code, out, err = nnray("submit", "train", "e.yaml", "--no-wait", "--id", "mine", "--quiet")
    assert code == 0, err
    assert out.startswith("mine  RUNNING")
    assert "job mine: submitted" in err
    assert "--json --quiet --once mine" in cluster.jobs["mine"]["entrypoint"]
    result = json.dumps({"run_id": "r", "verb": "train", "metrics": {"test_accuracy": 0.5}})
    cluster.logs["mine"] = ["epoch 1/2\nepo", 'ch 2/2\n{"a": 1}\n{odd\n', result[:9], f"{result[9:]}\n"]
    code, out, err = nnray("submit", "train", "e.yaml", "--id", "mine")
    assert (code, out) == (0, 'epoch 1/2\nepoch 2/2\n{"a": 1}\n{odd\n')
    assert "is there already, RUNNING" in err
    code, out, err = nnray("submit", "train", "e.yaml", "--id", "mine", "--json")
    assert (code, json.loads(out)) == (0, json.loads(result))
    assert "epoch 2/2" in err
    code, out, _ = nnray("jobs", "list", "--json")
    assert [job["id"] for job in json.loads(out)] == ["mine"]
    assert nnray("jobs", "status", "mine")[0] == 0


@pytest.mark.parametrize(
    ("status", "exit_code", "expected"), [("FAILED", 2, 2), ("FAILED", None, 1), ("STOPPED", None, 130)]
)
def test_the_exit_code_is_that_of_the_driver(
    nnray: Nnray, cluster: JobServer, status: str, exit_code: int | None, expected: int
) -> None:
    nnray("submit", "train", "e.yaml", "--no-wait", "--id", "mine")
    cluster.end("mine", status, exit_code)
    cluster.logs["mine"] = ["the last words"]
    code, out, err = nnray("jobs", "logs", "mine")
    assert (code, out) == (expected, "the last words\n")
    assert f"job mine  {status}" in err
    assert nnray("jobs", "status", "mine")[0] == 1
    assert nnray("jobs", "logs", "mine", "--no-follow") == (0, "the last words", "")
    assert nnray("jobs", "stop", "mine")[0] == 0


def test_runs_of_a_folder_are_told_with_where_they_stand(nnray: Nnray) -> None:
    assert nnray("jobs", "runs") == (0, "no runs in runs\n", "")
    assert nnray("train", "e.yaml", "--quiet", "--once", "a")[0] == 0
    code, out, _ = nnray("jobs", "runs", "--json")
    assert (code, list(json.loads(out).values())) == (0, ["ended"])
    (record,) = Path().glob("runs/*/run.json")
    record.write_text(record.read_text().replace("finished", "interrupted"))
    (record.parent / "result.json").unlink()
    assert nnray("jobs", "runs")[1] == f"{record.parent.name}  resumable\n"


def test_the_doctor_exits_with_1_if_something_is_wrong(nnray: Nnray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path.cwd()))
    code, out, _ = nnray("doctor", "--tracking", "http://127.0.0.1:1")
    assert code == 1
    assert "problem  mlflow    http://127.0.0.1:1" in out
    code, out, err = nnray("doctor", "--json")
    found = {finding["what"]: finding["verdict"] for finding in json.loads(out)}
    assert (code, found["mlflow"], err) == (int("problem" in found.values()), "ok", "")
    assert nnray("doctor", "--address", "127.0.0.1:1")[0] == 2
