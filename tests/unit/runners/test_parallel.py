"""A data-parallel run from the driver's side, without Ray: messages, settings, words."""

from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback, WorkerHealthCheckFailedError
from ray.train.v2._internal.execution.controller.state import (
    FinishedState,
    PreemptingState,
    ReschedulingState,
    ResizingState,
    RestartingState,
    RunningState,
)
from ray.train.v2._internal.execution.scaling_policy import NoopDecision, ResizeDecision
from ray.train.v2.api.exceptions import ControllerError, PreemptionError, WorkerGroupError
from ray.train.v2.api.preemption import PreemptionInfo

from nnray.config import Experiment, ParallelConfig, parse, with_overrides
from nnray.errors import ClusterError, DivergedError, NnrayError, RunError
from nnray.runners.cluster import Resources
from nnray.runners.display import Quiet
from nnray.runners.folder import create
from nnray.runners.parallel import settings, start
from nnray.runners.parallel.backend import choose_interface
from nnray.runners.parallel.group import Group
from nnray.runners.parallel.mailbox import Mailbox
from nnray.runners.parallel.messages import Began, Fatal, Fault, Message, Moved, Note, Trained
from nnray.runners.parallel.run import prepare_storage
from nnray.runners.parallel.settings import backend, environment, scaling
from nnray.runners.parallel.start import demand
from nnray.runners.parallel.watch import told
from nnray.runners.parallel.worker import MARK, RankSpec, _require_storage
from nnray.runners.sweep.interrupts import Interrupts
from nnray.runners.training import EpochRecord
from nnray.training.loop import EpochReport, Progress
from nnray.training.storage import LocalFolder, open_folder

PLAIN = {"name": "digits", "data": {"name": "digits"}, "model": {"name": "mlp", "hidden": [4]}}


def experiment(**parallel: Any) -> Experiment:
    return parse({**PLAIN, "parallel": {"workers": 2, **parallel}})


def test_every_message_survives_the_way() -> None:
    record = EpochRecord(EpochReport(1, 10, {"val_loss": 0.5}), 7)
    for message in (
        Began(1, 2),
        Trained(record),
        Moved(Progress(1, 2, 3, 4, 0.5, 0.6)),
        Note("n"),
        Fault("f"),
    ):
        assert pickle.loads(pickle.dumps(message)) == message
    fatal = pickle.loads(pickle.dumps(Fatal(DivergedError(1, 2))))
    assert isinstance(fatal.error, DivergedError)


def test_the_mailbox_gives_each_message_once_in_order() -> None:
    async def play() -> None:
        box = Mailbox(3)
        assert await box.take(0.0) == []
        attempt = await box.begin()
        assert attempt == 4
        for number in range(3):
            assert await box.post(attempt, bytes([number]))
        assert await box.take(60.0) == [b"\0", b"\1", b"\2"]
        assert await box.take(0.0) == []

    asyncio.run(play())


def test_a_stale_attempt_is_not_heard() -> None:
    async def play() -> None:
        box = Mailbox(0)
        old, new = await box.begin(), await box.begin()
        assert not await box.post(old, b"old")
        assert await box.post(new, b"new")
        assert await box.post(None, b"whoever")
        assert await box.take(60.0) == [b"new", b"whoever"]

    asyncio.run(play())


def test_progress_does_not_pile_up() -> None:
    async def play() -> None:
        box = Mailbox(0)
        for number in range(9):
            await box.post(None, bytes([number]), passing=True)
        await box.post(None, b"epoch")
        assert await box.take(60.0) == [b"epoch", b"\x08"]

    asyncio.run(play())


def test_who_waits_is_woken_by_what_arrives() -> None:
    async def play() -> None:
        box = Mailbox(0)
        waiting = asyncio.create_task(box.take(60.0))
        await asyncio.sleep(0)
        await box.post(None, b"now")
        assert await waiting == [b"now"]

    asyncio.run(play())


class _Told:
    """A group that hears what a test says."""

    def __init__(self, patch: pytest.MonkeyPatch, messages: list[Message]) -> None:
        self.faults: list[str] = []
        self.notes: list[str] = []
        self.moved: list[Progress] = []
        group = Group(
            experiment(),
            storage="storage",
            folder=Path("run"),
            interrupts=Interrupts("run"),
            on_fault=self.faults.append,
        )
        display = Quiet()
        patch.setattr(display, "note", self.notes.append)
        patch.setattr(display, "progress", self.moved.append)
        self.records = self._taken(group, messages, display)

    def _taken(self, group: Group, messages: list[Message], display: Quiet) -> Iterator[EpochRecord]:
        taken = (group._take(message, display) for message in messages)
        return (record for record in taken if record is not None)


def _epoch(number: int, *, replayed: bool = False) -> Trained:
    return Trained(EpochRecord(EpochReport(number, number), number, replayed))


def test_an_epoch_comes_once_however_often_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second attempt reads epoch 1 back, trains 2 again and goes on."""
    first: list[Message] = [Began(1, 2), _epoch(1), _epoch(2)]
    second: list[Message] = [
        Fault("rank 1 lost"),
        Began(2, 1),
        _epoch(1, replayed=True),
        _epoch(2),
        _epoch(3),
    ]
    told_ = _Told(monkeypatch, [*first, *second])
    assert [record.report.epoch for record in told_.records] == [1, 2, 3]
    assert told_.faults == ["rank 1 lost"]
    assert told_.notes == ["2 workers (attempt 1)", "warning: rank 1 lost", "1 workers (attempt 2)"]


def test_progress_of_an_epoch_that_is_trained_again_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [Progress(epoch, 1, 2, 3, 0.1, 1.0) for epoch in (1, 2)]
    told_ = _Told(monkeypatch, [_epoch(1), Moved(steps[0]), Moved(steps[1])])
    assert len(list(told_.records)) == 1
    assert told_.moved == steps[1:]


def test_an_error_that_another_try_would_not_mend_is_the_run_s(monkeypatch: pytest.MonkeyPatch) -> None:
    told_ = _Told(monkeypatch, [_epoch(1), Fatal(DivergedError(2, 20))])
    assert next(told_.records).report.epoch == 1
    with pytest.raises(DivergedError, match="epoch 2"):
        next(told_.records)


def _died() -> RayActorError:
    return RayActorError()


def _raised(error: Exception) -> UserExceptionWithTraceback:
    return UserExceptionWithTraceback(error, traceback_str="")


LOST = WorkerGroupError("", {0: _raised(RuntimeError("connection closed by peer")), 1: _died()})
INFO = PreemptionInfo(deadline_ms=None, preempted_node_to_ranks={"a": [2], "b": [0]})


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (RestartingState(LOST), "rank 1 lost: the process or its node has ended; workers are started again"),
        (
            RestartingState(WorkerGroupError("", {1: WorkerHealthCheckFailedError("", _died())})),
            "rank 1 lost: the process or its node has ended; workers are started again",
        ),
        (
            RestartingState(WorkerGroupError("", {0: _raised(RuntimeError("boom\nmore"))})),
            "rank 0: RuntimeError: boom; workers are started again",
        ),
        (RestartingState(PreemptionError(INFO)), "rank 0, 2 lost: the node was taken away; workers are "),
        (PreemptingState(INFO, 0.0), "rank 0, 2: the node will be taken away; training goes on elsewhere"),
        (ReschedulingState(ControllerError(OSError("no room"))), "OSError: no room; trying again"),
        (ResizingState(ResizeDecision(3, {})), "the cluster has changed: going on with 3 workers"),
    ],
)
def test_what_the_controller_decides_is_said_in_a_line(state: Any, words: str) -> None:
    assert told(state).startswith(words)
    assert "\n" not in told(state)


@pytest.mark.parametrize("state", [RunningState, FinishedState, lambda: ResizingState(NoopDecision())])
def test_nothing_is_said_where_all_goes_well(state: Any) -> None:
    assert told(state()) == ""


def test_workers_are_scaled_as_the_section_says() -> None:
    parallel = experiment(workers=4, cpus_per_worker=2).parallel
    assert parallel is not None
    fixed = scaling(parallel)
    assert (fixed.num_workers, fixed.elasticity_enabled, fixed.use_gpu) == (4, False, False)
    assert fixed.resources_per_worker == {"CPU": 2}


def test_min_workers_makes_it_elastic() -> None:
    parallel = ParallelConfig(workers=4, min_workers=2, gpus_per_worker=1)
    elastic = scaling(parallel)
    assert (elastic.min_workers, elastic.max_workers, elastic.elasticity_enabled) == (2, 4, True)
    assert elastic.use_gpu
    assert elastic.resources_per_worker == {"CPU": 1, "GPU": 1}
    assert demand(parallel).workers == 2
    assert not scaling(ParallelConfig(workers=4, min_workers=4)).elasticity_enabled


@pytest.mark.parametrize(("gpus", "name"), [(0, "gloo"), (0.5, "gloo"), (1, "cpu:gloo,cuda:nccl")])
def test_nccl_only_where_each_worker_has_a_gpu(gpus: float, name: str) -> None:
    assert backend(ParallelConfig(workers=2, gpus_per_worker=gpus)) == name


def test_ray_train_is_told_by_variables_and_the_users_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "7")
    monkeypatch.delenv("RAY_TRAIN_METRICS_ENABLED", raising=False)
    before = dict(os.environ)
    with environment(ParallelConfig(workers=2, timeout_s=33)):
        assert os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] == "7"
        assert os.environ["RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"] == "33.0"
        assert os.environ["RAY_TRAIN_METRICS_ENABLED"] == "0"
    assert dict(os.environ) == before


def test_the_controller_s_limits_are_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(settings, "TorchTrainer", lambda *args, **fields: seen.update(fields))
    parallel = ParallelConfig(workers=2, max_failures=5, timeout_s=44)
    settings.make_trainer(parallel, RankSpec(experiment(), str(tmp_path), None, ()), folder=tmp_path)
    failure = seen["run_config"].failure_config
    assert failure.max_failures == 5
    assert 0 < failure.controller_failure_limit < 100
    assert seen["torch_config"].timeout_s == 44


def test_gloo_goes_by_the_interface_of_the_node_s_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "127.0.0.1")
    choose_interface()
    assert os.environ["GLOO_SOCKET_IFNAME"] == "lo"
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "mine")
    choose_interface()
    assert os.environ["GLOO_SOCKET_IFNAME"] == "mine"


@pytest.mark.parametrize("root", [None, "shared", "memory://bucket/runs/"])
def test_the_storage_bears_a_mark(root: str | None) -> None:
    made = experiment(storage=root)
    folder = create(made, "train")
    where = open_folder(prepare_storage(made, folder))
    _require_storage(where)
    assert MARK in where.names()
    assert folder.name in str(where)


def test_a_node_that_sees_another_storage_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "10.0.0.7")
    with pytest.raises(RunError, match=r"node 10\.0\.0\.7 does not see .*set parallel\.storage"):
        _require_storage(LocalFolder(tmp_path / "nowhere"))


def test_a_storage_that_is_none_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = experiment(storage="nowhere://bucket")
    with pytest.raises(NnrayError, match="can't open the storage"):
        prepare_storage(made, create(made, "train"))


def test_resume_can_change_the_workers_of_a_data_parallel_run_only() -> None:
    from nnray.api import training as api

    made = create(with_overrides(experiment(), {"tracking.dir": "runs"}), "train")
    api._change_workers(made, 7)
    assert made.experiment.parallel is not None
    assert made.experiment.parallel.workers == 7
    plain = create(parse(PLAIN), "train")
    with pytest.raises(RunError, match="no workers to change"):
        api._change_workers(plain, 7)


GROWS = {"CPU": 8.0, "GPU": 4.0}


@pytest.mark.parametrize(("most", "fits"), [(None, False), ({}, False), ({"CPU": 1.0}, False), (GROWS, True)])
def test_what_an_autoscaler_can_bring_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, most: dict[str, float] | None, fits: bool
) -> None:
    state = SimpleNamespace(get_max_resources_from_cluster_config=lambda: most)
    monkeypatch.setattr("ray._private.state.state", state)
    monkeypatch.setattr(start, "nodes", lambda: [Resources(1)])
    fewest = demand(ParallelConfig(workers=2, gpus_per_worker=1))
    if fits:
        start.require_room(fewest)
    else:
        with pytest.raises(ClusterError, match=r"2 workers with 1 CPU and 1 GPU each.*the nodes have 1 CPU"):
            start.require_room(fewest)


def test_a_run_that_is_given_up_says_which_limit_it_was() -> None:
    group = Group(
        experiment(), storage="s", folder=Path("mine"), interrupts=Interrupts("r"), on_fault=lambda text: None
    )
    for error, words in (
        (LOST, "rank 1 lost.*parallel.max_failures, 3, allows; `nnray resume mine`"),
        (
            ControllerError(OSError("full")),
            "OSError: full: workers could not be started 10 times; `nnray",
        ),
        (ValueError("odd"), "Ray Train has failed: ValueError: odd"),
    ):
        with pytest.raises(RunError, match=words):
            raise group._given_up(error)
