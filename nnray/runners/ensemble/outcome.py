"""What an ensemble came to, beside what its members come to alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nnray.runners.outcome import Outcome

_SHOWN = ("val_accuracy", "val_loss", "test_accuracy", "test_loss")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsembleOutcome(Outcome):
    """An ensemble, and what its members come to alone.

    Args:
        combine: The rule, as it was asked for.
        text: The rule, in words.
        members: Name, SHA-256 of the weights, digest of the data, weight and metrics of each.
        notes: What is to be known of the figures.
        registered: Name and alias that it is registered under; empty where it is not.
    """

    combine: str
    text: str
    members: Sequence[Mapping[str, Any]] = ()
    notes: list[str] = field(default_factory=list)
    registered: str = ""

    def table(self) -> str:
        """Members and ensemble on the validation and the test split, as text."""
        rows = [(str(each["name"]), each["metrics"], each.get("weight")) for each in self.members]
        return "\n".join(_lines([*rows, ("ensemble", self.metrics, None)]))

    def summary(self) -> str:
        """What came of it, and what to do next."""
        return "\n".join(
            (
                f"ensemble  {self.text}",
                "",
                self.table(),
                "",
                *(f"note      {note}" for note in self.notes),
                *((f"model     {self.model_uri}",) if self.model_uri else ()),
                *((f"use it    nnray evaluate {self.registered}",) if self.registered else ()),
                *(f"written   {file}" for file in self.files),
            )
        )


def _lines(rows: Sequence[tuple[str, Mapping[str, float], float | None]]) -> Iterator[str]:
    names = [name for name in _SHOWN if any(name in metrics for _, metrics, _ in rows)]
    has_weights = any(weight is not None for *_, weight in rows)
    width = max(len(name) for name, *_ in rows)
    yield " " * width + "".join(f"  {name:>13}" for name in names) + ("  weight" if has_weights else "")
    for name, metrics, weight in rows:
        cells = "".join(f"  {metrics[key]:13.4f}" if key in metrics else " " * 15 for key in names)
        yield f"{name:{width}}{cells}" + (f"  {weight:6.2f}" if weight is not None else "")
