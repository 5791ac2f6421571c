"""What an examination finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        what: Such as ``versions`` or ``clock``.
        verdict: How it is.
        text: What was found; unless it is well, what to do.
    """

    what: str
    verdict: Verdict
    text: str

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.verdict:8} {self.what:9} {self.text}"
