"""Only the newest attempt to train a run may write to its storage.

A process that was given up, because its node was out of reach, may come back and go on as if
nothing had happened. So each attempt has a number that grows, its fencing token. It leaves a mark
in the storage when it begins, and looks for a newer one before each write. Storage that can't
compare and write in one step leaves an instant between the look and the write; therefore the mark
says which epoch the attempt went on from, and what an older attempt has beyond that is not read.

Source: Kleppmann 2016, "How to do distributed locking"; here the reader enforces the token, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nnray.errors import CheckpointError
from nnray.training.storage import LocalFolder, RemoteFolder

_MARK = re.compile(r"attempt-(\d{4,})\.json")


class StaleAttempt(CheckpointError):
    """A newer attempt has taken the run over: this one must not write."""


@dataclass(frozen=True, slots=True)
class Fence:
    """The right of one attempt to write.

    Args:
        folder: Of the checkpoints.
        attempt: Its number.
    """

    folder: LocalFolder | RemoteFolder
    attempt: int

    def claim(self, *, epoch: int | None = None) -> None:
        """Leave the mark: from now on, no older attempt writes.

        Args:
            epoch: That the attempt goes on from; None while it is not known.

        Raises:
            StaleAttempt: There is a newer one.
        """
        self.check()
        self.folder.put(_mark(self.attempt), json.dumps({"from": epoch}).encode())

    def check(self) -> None:
        """See whether this attempt may still write.

        Raises:
            StaleAttempt: There is a newer one.
        """
        newest = newest_attempt(self.folder)
        if newest > self.attempt:
            raise StaleAttempt(
                f"attempt {newest} has taken over from attempt {self.attempt} in {self.folder}"
            )


@dataclass(frozen=True, slots=True)
class Bounds:
    """Up to which epoch what each attempt has written counts.

    Args:
        begun: Attempt to the epoch that it went on from, where that is known.
    """

    begun: Mapping[int, int]

    @classmethod
    def read(cls, folder: LocalFolder | RemoteFolder, names: Sequence[str]) -> Bounds:
        """The bounds that stand in a folder.

        Args:
            folder: Of the checkpoints.
            names: What is in it.
        """
        begun = {}
        for name in names:
            if match := _MARK.fullmatch(name):
                epoch = _from(folder, name)
                if epoch is not None:
                    begun[int(match[1])] = epoch
        return cls(begun)

    def admit(self, epoch: int, *, attempt: int) -> bool:
        """Whether what an attempt has of an epoch is of the run's own past."""
        return all(epoch <= start for later, start in self.begun.items() if later > attempt)


def newest_attempt(folder: LocalFolder | RemoteFolder) -> int:
    """The number of the newest attempt in a folder; 0 where there was none."""
    marks = (_MARK.fullmatch(name) for name in folder.names())
    return max((int(match[1]) for match in marks if match), default=0)


def _mark(attempt: int) -> str:
    return f"attempt-{attempt:04d}.json"


def _from(folder: LocalFolder | RemoteFolder, name: str) -> int | None:
    try:
        epoch: int | None = json.loads(folder.read(name))["from"]
    except (OSError, ValueError, KeyError, TypeError):  # cut: the attempt's number still counts
        return None
    return epoch
