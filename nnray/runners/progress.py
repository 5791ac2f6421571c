"""How far a verb after training has come: a line as it begins, and one every few seconds from then on.

It goes to the logger ``nnray.progress``, which the command line shows and a program may.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
EVERY_S = 5.0
"""Between two lines of one work."""
_log = logging.getLogger("nnray.progress")


def begun(what: str) -> None:
    """Say what is being done from here on."""
    _log.info("%s ...", what)


class Progress:
    """Counts what is done of one work, and says it now and then.

    Args:
        what: Is done.
        unit: Of what is counted, such as ``examples``.
    """

    def __init__(self, what: str, unit: str) -> None:
        self._what, self._unit = what, unit
        self._done, self._told_s = 0, time.monotonic()
        begun(what)

    def over(self, items: Iterable[T], size: Callable[[T], int] = lambda item: 1) -> Iterator[T]:
        """The items as they are; each counts for ``size`` once the next one is asked for."""
        for item in items:
            yield item
            self._done += size(item)
            if time.monotonic() - self._told_s >= EVERY_S:
                self._told_s = time.monotonic()
                _log.info("%s: %s %s", self._what, f"{self._done:,}", self._unit)
