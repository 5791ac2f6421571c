"""What workers tell the driver goes through a small actor beside it; stale workers are not heard.

The actor never opens a message, so that it needs neither torch nor a second of anybody's time.
"""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

if TYPE_CHECKING:
    from nnray.runners.parallel.messages import Message

_PATIENCE_S = 60.0
"""How long a worker waits for the driver's node to answer."""


class Mailbox:
    """Keeps messages until the driver takes them, and numbers the attempts to train.

    Args:
        attempt: Number of the last attempt so far.
    """

    def __init__(self, attempt: int) -> None:
        self._attempt = attempt
        self._messages: list[bytes] = []
        self._latest: bytes | None = None
        self._controller: Any = None
        self._arrived = asyncio.Event()

    async def begin(self) -> int:
        """The number of a new attempt; older ones are not heard any more."""
        self._attempt += 1
        return self._attempt

    async def post(self, attempt: int | None, message: bytes, passing: bool = False) -> bool:
        """Take a message; whether it was heard.

        Args:
            attempt: That it comes from; None where it isn't from a worker that writes.
            message: Pickled.
            passing: Of no interest once a later one is there.
        """
        if attempt is not None and attempt != self._attempt:
            return False
        if passing:
            self._latest = message
        else:
            self._messages.append(message)
        self._arrived.set()
        return True

    async def hold(self, controller: Any) -> None:
        """Keep the handle of Ray Train's controller, for the driver to stop it by."""
        self._controller = controller

    async def controller(self) -> Any:
        """That handle; None until the controller has started."""
        return self._controller

    async def take(self, wait_s: float) -> list[bytes]:
        """What has arrived since the last call; comes back at once if there is something.

        Args:
            wait_s: How long to wait for something to arrive.
        """
        try:
            await asyncio.wait_for(self._arrived.wait(), wait_s)
        except TimeoutError:
            return []
        self._arrived.clear()
        taken, self._messages = self._messages, []
        if self._latest is not None:
            taken.append(self._latest)
            self._latest = None
        return taken


def open_mailbox(attempt: int) -> Any:
    """A mailbox on this process's node; it ends with this process.

    Args:
        attempt: Number of the last attempt so far.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here)
    return actor.remote(attempt)


def send(mailbox: Any, message: Message, *, attempt: int | None = None) -> bool:
    """Send a message and wait until it has arrived.

    Args:
        mailbox: Of the run.
        message: What to say.
        attempt: That it comes from.

    Returns:
        Whether it was heard: not if the attempt is not the newest.
    """
    arrived = mailbox.post.remote(attempt, pickle.dumps(message))
    return bool(ray.get(arrived, timeout=_PATIENCE_S))


def mention(mailbox: Any, message: Message, *, attempt: int | None = None, passing: bool = False) -> None:
    """Send a message without waiting.

    Args:
        mailbox: Of the run.
        message: What to say.
        attempt: That it comes from.
        passing: Of no interest once a later one is there.
    """
    mailbox.post.remote(attempt, pickle.dumps(message), passing)


def begin(mailbox: Any) -> int:
    """The number of a new attempt to train."""
    return int(ray.get(mailbox.begin.remote(), timeout=_PATIENCE_S))


def receive(mailbox: Any, wait_s: float) -> list[Message]:
    """What has arrived; waits for it if need be.

    Args:
        mailbox: Of the run.
        wait_s: How long to wait.
    """
    return [pickle.loads(taken) for taken in ray.get(mailbox.take.remote(wait_s))]
