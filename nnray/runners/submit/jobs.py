"""Jobs on a cluster: a driver that runs there, and what a laptop sees of it.

A job is known by the hash of all that it depends on, so that the same submission is the same run. Ray runs
a submission once: one that failed or was stopped is taken up again as ``ID.2``, ``ID.3``, ..., and goes on
with the run that the first began (``--once``).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from nnray.errors import ClusterError
from nnray.runners.submit.head import Head

Status = Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]
Write = Callable[[str], object]

_OVER = ("STOPPED", "SUCCEEDED", "FAILED")
_RETRY_S = 2.0
_PATIENCE_S = 120.0
"""How long a head that is away in the middle of a log is waited for."""
_STOP_S = 90.0


class Detached(KeyboardInterrupt):
    """Ctrl-C while a job is watched: the job goes on.

    Args:
        job: Its id.
    """

    def __init__(self, job: str) -> None:
        self.job = job
        super().__init__(job)

    def __str__(self) -> str:
        return (
            f"no longer watching; the job goes on: `nnray jobs logs {self.job}` attaches again, "
            f"`nnray jobs stop {self.job}` ends it"
        )


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the head knows it.

    Args:
        id: Of the submission; those that follow it end in ``.2``, ``.3``, ...
        status: In Ray's words.
        command: What it runs: verb, file, overrides; empty for a job of somebody else's.
        digest: Of all that it depends on; empty for a job of somebody else's.
        began: In seconds since 1970.
        ended: Likewise; None while it runs.
        exit_code: Of its driver; None while it runs, or if it never ran.
        message: What Ray says about it.
    """

    id: str
    status: Status
    command: str = ""
    digest: str = ""
    began: float = 0.0
    ended: float | None = None
    exit_code: int | None = None
    message: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in _OVER

    @property
    def family(self) -> str:
        """The id of the first submission."""
        return re.sub(r"\.\d+$", "", self.id)

    @property
    def attempt(self) -> int:
        """Which submission it is, from 1 on."""
        return int(self.id[len(self.family) + 1 :] or 1)

    def told(self, *, is_new: bool) -> str:
        """What to say once it was asked for."""
        if is_new and self.attempt > 1:
            return f"job {self.id}: goes on with the run of {self.family}"
        if is_new:
            return f"job {self.id}: submitted"
        return f"job {self.id}: is there already, {self.status}; nothing was started"

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        return {name: getattr(self, name) for name in self.__slots__}

    def __str__(self) -> str:
        seconds = (self.ended or time.time()) - self.began
        code = f" exit code {self.exit_code}" if self.exit_code else ""
        return f"{self.id}  {self.status}{code}  {seconds:.0f} s  {self.command}".rstrip()


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked of a cluster.

    Args:
        id: Of the job.
        command: What it runs, for people.
        digest: Of all that it depends on.
        entrypoint: What the head's shell is given.
        package: Name of the upload.
        data: The upload.
        environment: Variables for the driver and all workers.
    """

    id: str
    command: str
    digest: str
    entrypoint: str
    package: str
    data: bytes
    environment: Mapping[str, str]


class Jobs:
    """The jobs of a cluster.

    Args:
        head: Its job server.
    """

    def __init__(self, head: Head) -> None:
        self.head = head

    def all(self) -> list[Job]:
        """All submissions, newest first.

        Raises:
            ClusterError: The head can't be asked.
        """
        told = self.head.ask("GET", "/api/jobs/")
        if not isinstance(told, list):
            raise ClusterError(
                f"{self.head.url} is not the job server of a Ray head: give the address of its dashboard"
            )
        found = [read_job(job) for job in told if job.get("submission_id")]
        return sorted(found, key=lambda job: job.began, reverse=True)

    def status(self, job: str) -> Job:
        """How a job stands: the newest of those that bear the id.

        Raises:
            ClusterError: There is none, or the head can't be asked.
        """
        every = self.all()
        found = [other for other in every if job in (other.id, other.family)]
        exact = [other for other in found if other.id == job and other.attempt > 1]
        if not found:
            known = ", ".join(other.id for other in every[:5]) or "none"
            raise ClusterError(f"no job {job!r} at {self.head.url}: the newest there: {known}")
        return exact[0] if exact else max(found, key=lambda other: other.attempt)

    def submit(self, order: Order) -> tuple[Job, bool]:
        """Have a job run; the same order again is the same job.

        Returns:
            The job, and whether it was started just now: one that runs or has succeeded is not.

        Raises:
            ClusterError: The id stands for something else, or the head can't be asked.
        """
        same = [job for job in self.all() if job.family == order.id]
        last = max(same, key=lambda job: job.attempt, default=None)
        if last is None:
            return self._start(order, order.id)
        if last.digest != order.digest:
            what = f"it runs `{last.command}`" if last.command else "it is not of nnray"
            raise ClusterError(
                f"job {order.id!r} at {self.head.url} has other content: {what}; give this one another name "
                "with --id, or none"
            )
        if last.status in ("PENDING", "RUNNING", "SUCCEEDED"):
            return last, False
        return self._start(order, f"{order.id}.{last.attempt + 1}")

    def logs(self, job: str, write: Write, *, follow: bool = True) -> Job:
        """Write all that a job has printed; go on until it ends.

        Args:
            job: Its id.
            write: Called with each piece.
            follow: Whether to wait for more.

        Raises:
            ClusterError: There is no such job, or the head stays away.
            Detached: On Ctrl-C; the job goes on.
        """
        found = self.status(job)
        path = f"/api/jobs/{found.id}/logs"
        if not follow:
            write((self.head.ask("GET", path) or {}).get("logs", ""))
            return found
        try:
            return self._follow(found, _Once(write), path + "/tail")
        except KeyboardInterrupt as interrupt:
            raise Detached(found.id) from interrupt

    def stop(self, job: str) -> Job:
        """End a job: its run is interrupted in order, and can be gone on with.

        Raises:
            ClusterError: There is no such job, or it does not end.
        """
        found = self.status(job)
        if not found.is_over:
            self.head.ask("POST", f"/api/jobs/{found.id}/stop")
        end = time.monotonic() + _STOP_S
        while not (found := self.status(found.id)).is_over:
            if time.monotonic() > end:
                raise ClusterError(f"job {found.id} is still {found.status} after {_STOP_S:g} s: ask again")
            threading.Event().wait(0.5)
        return found

    def _start(self, order: Order, name: str) -> tuple[Job, bool]:
        package = f"/api/packages/gcs/{order.package}"
        if self.head.ask("GET", package) is None:
            self.head.ask("PUT", package, data=order.data)
        request = {
            "entrypoint": order.entrypoint,
            "submission_id": name,
            "runtime_env": {"working_dir": f"gcs://{order.package}", "env_vars": dict(order.environment)},
            "metadata": {"nnray_command": order.command, "nnray_digest": order.digest},
        }
        try:
            self.head.ask("POST", "/api/jobs/", json=request)
        except ClusterError as error:
            if "already exists" not in str(error):  # someone else was faster with the same
                raise
            return self.submit(order)
        return self.status(name), True

    def _follow(self, job: Job, once: _Once, path: str) -> Job:
        end = time.monotonic() + _PATIENCE_S
        while True:
            once.rewind()
            try:
                closed = self.head.follow(path, once)
                now = self.status(job.id)
            except ClusterError:
                if not once.count or time.monotonic() > end:
                    raise
                closed, now = False, None
            else:
                end = time.monotonic() + _PATIENCE_S
            if closed and now is not None and now.is_over:
                if not once.count and now.message:
                    once(f"{now.message}\n")
                return now
            threading.Event().wait(_RETRY_S)


class _Once:
    """Writes what it has not written yet of a text that is told from its start again and again."""

    def __init__(self, write: Write) -> None:
        self._write, self.count, self._at = write, 0, 0

    def rewind(self) -> None:
        self._at = 0

    def __call__(self, text: str) -> None:
        new = text[max(0, self.count - self._at) :]
        self._at += len(text)
        if new:
            self.count = self._at
            self._write(new)


def read_job(told: Mapping[str, Any]) -> Job:
    """A job as the head tells it."""
    about = told.get("metadata") or {}
    ended = told.get("end_time")
    return Job(
        id=told["submission_id"],
        status=cast("Status", told["status"]),
        command=about.get("nnray_command", ""),
        digest=about.get("nnray_digest", ""),
        began=(told.get("start_time") or 0) / 1000,
        ended=ended / 1000 if ended else None,
        exit_code=told.get("driver_exit_code"),
        message=(told.get("message") or "").partition(", last available logs")[0],
    )
