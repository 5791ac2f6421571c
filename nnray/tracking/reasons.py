"""Why a store did not take something, in few words: libraries wrap a refused connection in six lines."""

from __future__ import annotations

from collections.abc import Iterator

_LONGEST = 300


class Failed(Exception):
    """The store did not take something; the message is the reason already, found in another process."""


def reason(error: BaseException) -> str:
    """What lies at the bottom of an error, where that is the network; else its own first line."""
    if isinstance(error, Failed):
        return str(error)
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.strerror and type(cause).__module__ == "builtins":
            return cause.strerror
        if isinstance(cause, TimeoutError):
            return "no answer in time"
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {first}"[:_LONGEST]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what it came from, and what that came from; the deepest first."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    yield from reversed(chain)
