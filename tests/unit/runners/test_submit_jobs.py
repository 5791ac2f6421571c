"""Jobs: the same order is the same job, another one under its id a conflict, and logs are told once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from nnray.errors import ClusterError
from nnray.runners.submit import Detached, Head, Job, Jobs, Order, jobs
from tests.unit.runners.job_server import JobServer, running

ORDER = Order(
    id="tiny-train-abc",
    command="train tiny.yaml",
    digest="d1",
    entrypoint="exec python -m nnray.cli train tiny.yaml",
    package="_ray_pkg_1.zip",
    data=b"PK",
    environment={"A": "1"},
)


@pytest.fixture
def server() -> Iterator[JobServer]:
    with running() as made:
        yield made


@pytest.fixture
def there(server: JobServer) -> Jobs:
    return Jobs(server.head)


def test_an_order_is_shipped_and_started(server: JobServer, there: Jobs) -> None:
    job, is_new = there.submit(ORDER)
    assert (job.id, job.status, job.digest, is_new) == (ORDER.id, "RUNNING", "d1", True)
    assert server.packages == {"_ray_pkg_1.zip": b"PK"}
    asked = server.jobs[ORDER.id]
    assert asked["entrypoint"] == ORDER.entrypoint
    assert asked["runtime_env"] == {"working_dir": "gcs://_ray_pkg_1.zip", "env_vars": {"A": "1"}}
    assert [str(job)[:25] for job in there.all()] == ["tiny-train-abc  RUNNING  "]


@pytest.mark.parametrize("status", ["PENDING", "RUNNING", "SUCCEEDED"])
def test_the_same_again_starts_nothing(server: JobServer, there: Jobs, status: str) -> None:
    there.submit(ORDER)
    server.end(ORDER.id, status)
    job, is_new = there.submit(ORDER)
    assert (job.id, is_new, len(server.jobs), server.uploads) == (ORDER.id, False, 1, 1)
    assert "nothing was started" in job.told(is_new=is_new)


@pytest.mark.parametrize("status", ["FAILED", "STOPPED"])
def test_what_failed_is_gone_on_with_under_the_next_number(
    server: JobServer, there: Jobs, status: str
) -> None:
    there.submit(ORDER)
    for attempt in range(2, 12):
        server.end(there.status(ORDER.id).id, status)
        job, is_new = there.submit(ORDER)
        assert (job.id, job.attempt, job.family, is_new) == (f"{ORDER.id}.{attempt}", attempt, ORDER.id, True)
        assert "goes on with the run of tiny-train-abc" in job.told(is_new=True)
    assert server.uploads == 1
    assert there.status(ORDER.id).attempt == 11
    assert there.status(f"{ORDER.id}.3").attempt == 3


def test_other_content_under_the_same_id_is_a_conflict(server: JobServer, there: Jobs) -> None:
    there.submit(ORDER)
    for status in ("RUNNING", "SUCCEEDED", "FAILED"):
        server.end(ORDER.id, status)
        with pytest.raises(ClusterError, match=r"other content: it runs `train tiny.yaml`; give this one"):
            there.submit(replace(ORDER, digest="d2"))
    assert len(server.jobs) == 1


def test_of_two_who_submit_at_once_one_starts_it(server: JobServer, there: Jobs) -> None:
    server.taken = "d1"
    job, is_new = there.submit(ORDER)
    assert (job.id, is_new) == (ORDER.id, False)
    server.jobs.clear()
    server.taken = "d2"
    with pytest.raises(ClusterError, match="other content: it is not of nnray"):
        there.submit(ORDER)


def test_an_unknown_job_is_told_with_those_that_are_there(there: Jobs) -> None:
    with pytest.raises(ClusterError, match=r"no job 'x' at http://.*: the newest there: none"):
        there.status("x")
    there.submit(ORDER)
    with pytest.raises(ClusterError, match="the newest there: tiny-train-abc"):
        there.logs("x", print)


def test_a_server_that_is_no_ray_head_is_told_as_such(server: JobServer) -> None:
    with pytest.raises(ClusterError, match="is not the job server of a Ray head"):
        Jobs(Head(server.url + "/elsewhere", server.head.token)).all()


def test_logs_are_told_to_their_end(server: JobServer, there: Jobs) -> None:
    there.submit(ORDER)
    server.logs[ORDER.id] = ["one\n", "two\n"]
    told: list[str] = []
    ended = there.logs(ORDER.id, told.append)
    assert ("".join(told), ended.status, ended.exit_code) == ("one\ntwo\n", "SUCCEEDED", 0)
    told.clear()
    there.logs(ORDER.id, told.append, follow=False)
    assert told == ["one\ntwo\n"]


def test_a_log_that_is_cut_off_is_gone_on_with_where_it_was(
    server: JobServer, there: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_RETRY_S", 0.01)
    there.submit(ORDER)
    server.logs[ORDER.id], server.cuts = ["one\n", "two\n", "three\n"], 3
    told: list[str] = []
    assert there.logs(ORDER.id, told.append).status == "SUCCEEDED"
    assert "".join(told) == "one\ntwo\nthree\n"
    assert server.cuts == 0


def test_a_job_that_never_began_says_why(server: JobServer, there: Jobs) -> None:
    there.submit(ORDER)
    server.end(ORDER.id, "FAILED")
    server.jobs[ORDER.id]["message"] = "runtime_env setup failed: no space, last available logs: ..."
    told: list[str] = []
    assert there.logs(ORDER.id, told.append).status == "FAILED"
    assert told == ["runtime_env setup failed: no space\n"]


def test_ctrl_c_stops_watching_and_says_how_to_watch_again(
    server: JobServer, there: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    there.submit(ORDER)
    server.logs[ORDER.id] = ["one\n"]

    def interrupted(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Detached, match=f"the job goes on: `nnray jobs logs {ORDER.id}` attaches again"):
        there.logs(ORDER.id, interrupted)


def test_stop_waits_for_the_end(server: JobServer, there: Jobs) -> None:
    there.submit(ORDER)
    assert there.stop(ORDER.id).status == "STOPPED"
    assert there.stop(ORDER.id).status == "STOPPED"


def test_a_job_in_words_and_for_scripts() -> None:
    job = Job("a.2", "FAILED", command="train x.yaml", began=10.0, ended=25.0, exit_code=2)
    assert str(job) == "a.2  FAILED exit code 2  15 s  train x.yaml"
    assert job.to_dict()["exit_code"] == 2
    assert (job.is_over, job.family, job.attempt) == (True, "a", 2)
