"""Tracing without a word on the terminal: what torch says of a model that it can't trace is its whole graph.

Some of it goes through loggers, which write to ``sys.stderr`` as it is at that moment, and the graph is
printed there. What other threads write, such as a line of progress, goes where it would have gone.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any, TextIO

_ONE_AT_A_TIME = threading.RLock()
"""``torch.export`` keeps state of the process, and what ``sys.stderr`` is belongs to it, too."""
_log = logging.getLogger("nnray.tracking")


@contextlib.contextmanager
def traced_quietly() -> Iterator[None]:
    """Have this thread alone trace, and what it writes to stderr meanwhile go to the log, for debugging."""
    with _ONE_AT_A_TIME:
        apart = _Apart(sys.stderr)
        try:
            with contextlib.redirect_stderr(apart):
                yield
        finally:
            if said := apart.held.getvalue().strip():
                _log.debug("while a model was traced: %s", said)


class _Apart:
    """A stream that keeps what one thread writes, and passes on what all others do.

    Args:
        stream: Where the others write.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._thread, self.held = stream, threading.get_ident(), io.StringIO()

    def write(self, text: str, /) -> int:
        """Write, or keep."""
        return (self.held if threading.get_ident() == self._thread else self._stream).write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
