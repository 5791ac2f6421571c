"""A gang by itself: members are threads, and their process group is a barrier that can break."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, BrokenBarrierError, Event
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError

from nnray.config import Experiment
from nnray.errors import ClusterError
from nnray.runners.sweep import gang
from nnray.runners.sweep.gang import Gang
from nnray.runners.sweep.rendezvous import Meeting
from nnray.runners.sweep.trial import Epoch, Failure, Resting, Weights, Worker, WorkerSpec
from tests.unit.sweep.bench import epoch_of, make_experiment

TIMEOUT_S = 30.0
LR = "optimizer.lr"


class Dead(BaseException):
    """Ends a thread that stands for a process."""


class Room:
    """Where the ranks meet: a barrier stands for their collectives."""

    def __init__(self, size: int) -> None:
        self.size, self.met = size, 0
        self.timeout_s = TIMEOUT_S
        self.barrier = Barrier(size)

    def call(self) -> Meeting:
        self.met += 1
        self.barrier = Barrier(self.size)
        return Meeting("here", self.met, self.size, "gloo", self.timeout_s)

    def enter(self, meeting: Meeting) -> None:
        assert meeting.port == self.met
        self.collective()

    def leave(self) -> None:
        self.barrier.abort()

    def collective(self) -> None:
        try:
            self.barrier.wait(self.timeout_s)
        except BrokenBarrierError as error:
            raise ClusterError("the barrier is broken") from error


class Scripted:
    """Trains three epochs; ``moods`` says what happens on a rank in the second one."""

    def __init__(self, rank: int, room: Room, moods: dict[int, Callable[[], None]]) -> None:
        self.rank, self.room, self.moods = rank, room, moods
        self.epochs: list[int] = []

    def load(self, experiment: Experiment) -> str:
        self.moods.get(-self.rank - 1, lambda: None)()
        return "data"

    def train(self, experiment: Experiment, data: Any, folder: Path) -> Iterator[Epoch]:
        (folder / "checkpoints").mkdir(exist_ok=True)
        for epoch in (1, 2, 3):
            if epoch == 2:
                self.moods.get(self.rank, lambda: None)()
            self.room.collective()
            self.epochs.append(epoch)
            yield epoch_of(epoch, epoch / 10, last=epoch == 3)

    def weights(self, experiment: Experiment, data: Any, folder: Path) -> Weights:
        return Weights(3, b"weights")


class Peer:
    """A member in a thread; a real one in an actor has the same methods."""

    def __init__(self, rank: int, worker: Worker, room: Room) -> None:
        self.rank, self.worker, self.room = rank, worker, room
        self.pool = ThreadPoolExecutor(1)
        self.killed, self.gone = Event(), False
        self.barrier = room.barrier

    def call(self, method: str, /, *args: Any) -> Future[Any]:
        if self.gone:
            dead: Future[Any] = Future()
            dead.set_exception(ActorDiedError())
            return dead
        return self.pool.submit(self._do, method, *args)

    def kill(self) -> None:
        self.gone = True
        self.killed.set()
        self.barrier.abort()
        self.pool.shutdown(wait=False)

    def _do(self, method: str, *args: Any) -> Any:
        try:
            return getattr(self, f"_{method}")(*args)
        except Dead:
            self.gone = True
            self.barrier.abort()
            raise ActorDiedError from None

    def _enter(self, meeting: Meeting) -> None:
        self.barrier = self.room.barrier
        self.room.enter(meeting)

    def _leave(self) -> None:
        self.worker.rest()
        self.barrier.abort()

    def _prepare(self, number: int, params: Any) -> Failure | None:
        self.worker.begin(number, params)
        return self.worker.prepare()

    def _step(self) -> Any:
        return self.worker.step()

    def _rest(self) -> None:
        self.worker.rest()


class Side:
    """A gang of a size, and all that a test looks at."""

    def __init__(self, folder: Path, size: int) -> None:
        self.room = Room(size)
        self.moods: dict[int, Callable[[], None]] = {}
        self.trainers: dict[int, Scripted] = {}
        self.peers: list[Peer] = []
        self.spec = WorkerSpec(make_experiment(), folder, 1, ranks=size)
        self.gang = Gang(
            self.worker(0), size=size, start=self.start, room=self.room, timeout_s=self.room.timeout_s
        )

    def worker(self, rank: int) -> Worker:
        trainer = self.trainers[rank] = Scripted(rank, self.room, self.moods)
        return Worker(self.spec, lambda spec: trainer)

    def start(self, rank: int) -> Peer:
        self.peers.append(Peer(rank, self.worker(rank), self.room))
        return self.peers[-1]

    def steps(self, number: int, count: int = 3) -> list[Any]:
        self.gang.begin(number, {LR: 0.1})
        return [self.gang.step() for _ in range(count)]

    def goes_well(self, number: int) -> bool:
        return self.steps(number) == [epoch_of(n, n / 10, last=n == 3) for n in (1, 2, 3)]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Side]]:
    monkeypatch.setattr(gang, "_JITTER_S", 0.05)
    monkeypatch.setattr(gang, "_GRACE_S", 2.0)
    made: list[Side] = []

    def side(size: int) -> Side:
        made.append(Side(tmp_path, size))
        return made[-1]

    yield side
    for one in made:
        one.gang.close()


def raises() -> None:
    raise ValueError("a bad mood")


def dies() -> None:
    raise Dead


SIZES = pytest.mark.parametrize("size", [2, 3, 5])


@SIZES
def test_all_ranks_train_every_epoch_and_rank_0_speaks(make: Callable[[int], Side], size: int) -> None:
    side = make(size)
    assert side.goes_well(0)
    assert [side.trainers[rank].epochs for rank in range(size)] == [[1, 2, 3]] * size
    assert side.gang.finish() == Weights(3, b"weights")
    assert side.gang.step() == Resting()


def test_members_and_their_group_stay_from_trial_to_trial(make: Callable[[int], Side]) -> None:
    side = make(3)
    for number in range(3):
        assert side.goes_well(number)
        side.gang.finish()
    assert (len(side.peers), side.room.met) == (2, 1)


def test_a_trial_that_is_stopped_leaves_a_group_that_the_next_one_takes(
    make: Callable[[int], Side],
) -> None:
    side = make(2)
    side.steps(0, 1)
    side.gang.finish()
    assert side.goes_well(1)
    side.steps(2, 2)
    side.gang.rest()
    assert side.goes_well(3)
    assert side.room.met == 1


@SIZES
@pytest.mark.parametrize("where", [0, 1, -1])
def test_a_rank_that_fails_alone_is_named_and_the_others_go_on(
    make: Callable[[int], Side], size: int, where: int
) -> None:
    side = make(size)
    rank = where % size
    side.moods[rank] = raises
    first, second = side.steps(0, 2)
    assert first == epoch_of(1, 0.1)
    assert second == Failure("ValueError: a bad mood" + (f" (rank {rank})" if rank else ""))
    assert side.gang.step() == Resting()
    side.moods.clear()
    assert side.goes_well(1)
    assert len(side.peers) == size - 1, "no member was lost"
    assert side.room.met == 2


def test_a_member_that_fails_and_cannot_leave_is_replaced(
    make: Callable[[int], Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    side = make(2)
    stuck = side.peers[0]
    monkeypatch.setattr(stuck, "_leave", lambda: None)
    side.moods[1] = raises
    assert side.steps(0, 2)[1] == Failure("ValueError: a bad mood (rank 1)")
    assert stuck.killed.is_set(), "the others would wait for it"
    side.moods.clear()
    assert side.goes_well(1)
    assert [peer.rank for peer in side.peers] == [1, 1]


def test_all_ranks_that_fail_alike_are_one_failure(make: Callable[[int], Side]) -> None:
    side = make(3)
    side.moods.update(dict.fromkeys(range(3), raises))
    assert side.steps(0, 2)[1] == Failure("ValueError: a bad mood")
    side.moods.clear()
    assert side.goes_well(1)


@SIZES
def test_a_member_that_dies_is_named_and_another_takes_its_place(
    make: Callable[[int], Side], size: int
) -> None:
    side = make(size)
    side.moods[size - 1] = dies
    failure = side.steps(0, 2)[1]
    assert failure.is_death
    assert failure.reason.startswith(f"WorkerDied: rank {size - 1}: its process ended unexpectedly")
    side.moods.clear()
    assert side.goes_well(1)
    assert [peer.rank for peer in side.peers] == [*range(1, size), size - 1]


@SIZES
def test_a_member_that_hangs_is_named_and_ended(make: Callable[[int], Side], size: int) -> None:
    side = make(size)
    assert side.goes_well(0)
    side.room.timeout_s = 2.0
    hung = side.peers[0]

    def hangs() -> None:
        hung.killed.wait(TIMEOUT_S)
        raise Dead

    side.moods[1] = hangs
    assert side.steps(1, 2)[1] == Failure(
        "WorkerDied: rank 1 hung: it kept the other ranks waiting", is_death=True
    )
    assert hung.killed.is_set()
    side.room.timeout_s = TIMEOUT_S
    side.moods.clear()
    assert side.goes_well(2)


def test_a_member_that_is_idle_when_it_dies_fails_the_next_trial_only(make: Callable[[int], Side]) -> None:
    side = make(3)
    assert side.goes_well(0)
    side.peers[1].kill()
    assert side.steps(1, 1)[0].reason.startswith("WorkerDied: rank 2: ")
    assert side.goes_well(2)


@pytest.mark.parametrize("rank", [0, 1])
def test_data_that_one_rank_cannot_read_fails_the_trial_before_any_rank_waits(
    make: Callable[[int], Side], rank: int
) -> None:
    side = make(2)
    side.moods[-rank - 1] = raises
    assert side.steps(0, 1)[0].reason.startswith("ValueError: a bad mood")
    assert side.trainers[0].epochs == side.trainers[1].epochs == []
    side.moods.clear()
    assert side.goes_well(1)


def test_parameters_that_make_no_experiment_fail_the_trial(make: Callable[[int], Side]) -> None:
    side = make(2)
    side.gang.begin(0, {LR: -1.0})
    outcome = side.gang.step()
    assert isinstance(outcome, Failure)
    assert outcome.reason.startswith("ConfigError: ")
    assert side.goes_well(1)


def test_memory_that_ran_out_is_said(make: Callable[[int], Side]) -> None:
    side = make(2)

    def out_of_memory() -> None:
        side.peers[0].gone = True
        side.room.leave()
        raise OutOfMemoryError("low on memory")  # type: ignore[no-untyped-call]

    side.peers[0]._step = out_of_memory  # type: ignore[method-assign]
    failure = side.steps(0, 1)[0]
    assert failure.reason == (
        "WorkerDied: rank 1: its process was ended because the machine was running out of memory"
    )


def test_closing_ends_all_members(make: Callable[[int], Side]) -> None:
    side = make(4)
    assert side.goes_well(0)
    side.gang.close()
    assert all(peer.killed.is_set() for peer in side.peers)
    assert side.room.barrier.broken
