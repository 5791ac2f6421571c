"""Gathering what actors owe: errors come as themselves, and only what is late is cut off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError, RayTaskError

from nnray.errors import ClusterError, UserCodeError
from nnray.federated.outcome import Failed
from nnray.runners.federated import gathering
from nnray.runners.federated.gathering import Gathering
from nnray.runners.federated.pool import Pool
from nnray.runners.federated.worker import Busy

LONG = "The actor is dead because it died. Worker exit type: X. Some common causes include: (1) a, (2) b."


class Actors:
    """Answer as told; ``now`` is the time."""

    def __init__(self, answer: Callable[[Sequence[int]], Any], busy: Busy | None = None) -> None:
        self._answer, self._busy = answer, busy
        self.now, self.replaced, self.asked = 0.0, list[str](), list[tuple[int, ...]]()

    def submit(self, place: int, method: str, args: tuple[Any, ...]) -> Any:
        self.asked.append(args)
        return len(self.asked)

    def busy(self, place: int) -> Busy | None:
        return self._busy

    def check(self, place: int) -> None:
        pass

    def replace(self, place: int, why: str) -> None:
        self.replaced.append(why)

    def wait(self, refs: list[int], *, timeout: float | None) -> tuple[list[int], list[int]]:
        """A second goes by where there is no answer."""
        ready = [ref for ref in refs if self._answer(self.asked[ref - 1]) is not None]
        self.now += not ready
        return ready, []

    def get(self, ref: int) -> Any:
        found = self._answer(self.asked[ref - 1])
        if isinstance(found, Exception):
            raise found
        return found


def task_error(error: Exception) -> RayTaskError:
    return RayTaskError("call", "Traceback ...", error)  # type: ignore[no-untyped-call]


@pytest.fixture
def gather(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    def run(actors: Actors, items: list[int], *, deadline_s: float | None = None) -> list[Any]:
        monkeypatch.setattr(gathering, "ray", SimpleNamespace(wait=actors.wait, get=actors.get))
        monkeypatch.setattr(gathering, "time", SimpleNamespace(monotonic=lambda: actors.now))
        now = Gathering(actors, "train", tuple, deadline_s)
        now.begin(0, items)
        return now.results()

    return run


def test_an_error_of_a_worker_comes_as_itself(gather: Callable[..., list[Any]]) -> None:
    """Ray's own kind of it has a traceback for a message."""
    error = UserCodeError("bad:strategy", "returns nothing")
    actors = Actors(lambda items: task_error(error))
    with pytest.raises(UserCodeError) as caught:
        gather(actors, [1, 2])
    assert type(caught.value) is UserCodeError
    assert str(caught.value) == str(error)


def test_a_worker_that_is_silent_has_until_the_deadline(gather: Callable[..., list[Any]]) -> None:
    answers: list[Any] = []
    actors = Actors(lambda items: answers[0] if answers else None)

    def busy(place: int) -> Busy | None:
        if actors.now >= 9:
            answers.append("done")
        return None

    actors.busy = busy  # type: ignore[method-assign]
    assert gather(actors, [7], deadline_s=10.0) == ["done"]
    assert actors.replaced == []


def test_a_worker_that_stays_silent_is_cut_off(gather: Callable[..., list[Any]]) -> None:
    actors = Actors(lambda items: None)
    (failed,) = gather(actors, [7], deadline_s=10.0)
    assert (failed.client, actors.now) == (7, 11.0)
    assert "longer than federated.deadline_s, 10 s" in failed.error


def test_the_client_that_kills_is_named_and_why_in_a_line(gather: Callable[..., list[Any]]) -> None:
    actors = Actors(lambda items: RayActorError(error_msg=LONG) if 3 in items else f"did {list(items)}")
    *done, failed = sorted(gather(actors, [2, 3]), key=lambda part: isinstance(part, Failed))
    assert done == ["did [2]"]
    assert failed == Failed(3, f"its worker was lost 2 times: {LONG.partition(' Some')[0]}")


def test_what_can_t_be_evaluated_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = Failed(4, "its worker was lost 2 times: out of memory")
    monkeypatch.setattr(Pool, "_gather", lambda *args: [lost])
    with pytest.raises(ClusterError, match="evaluate, part 4: its worker was lost 2 times"):
        object.__new__(Pool)._parts("evaluate", [[4]], lambda items: ())
