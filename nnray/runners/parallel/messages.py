"""What the processes of a data-parallel run tell the one that records it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnray.errors import NnrayError

if TYPE_CHECKING:
    from nnray.runners.training import EpochRecord
    from nnray.training.loop import Progress


@dataclass(frozen=True, slots=True)
class Began:
    """A group of workers has begun to train.

    Args:
        attempt: Its number, counted over the whole run.
        size: How many workers there are.
    """

    attempt: int
    size: int


@dataclass(frozen=True, slots=True)
class Trained:
    """An epoch has ended, or was read back from the history."""

    record: EpochRecord


@dataclass(frozen=True, slots=True)
class Moved:
    """An epoch has come further."""

    progress: Progress


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a person should know."""

    text: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Workers were lost, or their number changes: they are started again."""

    text: str


@dataclass(frozen=True, slots=True)
class Fatal:
    """An error that would come again however often training is begun anew."""

    error: NnrayError


Message = Began | Trained | Moved | Note | Fault | Fatal
