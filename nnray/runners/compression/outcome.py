"""What compression came to, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nnray.runners.outcome import Outcome

COLUMNS: Mapping[str, str] = {
    "val_accuracy": "val acc",
    "test_accuracy": "test acc",
    "parameters": "parameters",
    "nonzero": "non-zero",
    "bytes": "bytes",
    "compressed_bytes": "compressed",
    "flops": "FLOPs",
    "latency_1_ms": "ms at 1",
    "latency_64_ms": "ms at 64",
}
"""What a row may hold, and what it is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression(Outcome):
    """What compression came to.

    Args:
        rows: Before, after each method, and what was measured then; test and latency of the first and last.
        methods: As they were applied, with the strength that was found.
        recipe: What changed the structure, from the experiment's network on.
        threads: That the latency was measured with.
    """

    rows: Sequence[Mapping[str, Any]] = field(default=())
    methods: Sequence[Mapping[str, Any]] = field(default=())
    recipe: Sequence[Mapping[str, Any]] = field(default=())
    threads: int = 0

    def summary(self) -> str:
        """The table, and what to do next."""
        model = [f"model  {self.model_uri}"] if self.model_uri else []
        return "\n".join([table(self.rows), f"latency: median, {self.threads} thread(s)", *model])


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as text, aligned: side by side, since nine numbers beside each other are wider than a window."""
    lines = [["", *(str(row["name"]) for row in rows)]]
    for name, title in COLUMNS.items():
        if any(name in row for row in rows):
            lines.append([title, *(_text(row.get(name)) for row in rows)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"
