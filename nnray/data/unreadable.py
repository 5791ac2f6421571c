"""Files that can't be read: passed over only where that is asked for, and never in silence."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

from nnray.data.image import UNREADABLE

F = TypeVar("F")
Unreadable = Literal["refuse", "skip"]
"""What is done about a file that can't be read."""
SHOWN = 20
"""How many files a message names."""
_READERS = 8
_log = logging.getLogger("nnray.data")


def readable(files: Sequence[F], read: Callable[[F], object], *, name: str) -> list[F]:
    """Those of some files that can be read, in order; the others are listed in the log.

    Args:
        files: All of them.
        read: Reads one; what it gives isn't kept.
        name: The data set.
    """
    with ThreadPoolExecutor(_READERS) as readers:
        problems = list(readers.map(lambda file: _problem(file, read), files))
    found = [problem for problem in problems if problem]
    if found:
        _log.warning("%s: %d image(s) can't be read and are skipped:\n  %s", name, len(found), listed(found))
    return [file for file, problem in zip(files, problems, strict=True) if not problem]


def listed(problems: Sequence[str]) -> str:
    """A line for each of the first few, and how many more there are."""
    more = [f"... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return "\n  ".join([*problems[:SHOWN], *more])


def _problem(file: F, read: Callable[[F], object]) -> str:
    try:
        read(file)
    except UNREADABLE as error:
        return f"{file}: {error}"
    return ""
