"""Cells of a table in a request: texts, numbers and null by column, encoded as in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nnray.data.input_cells import problem_of
from nnray.data.table_columns import Encoder
from nnray.data.table_files import text_of
from nnray.runners.serving.refusal import bad_request, kind


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of examples, unchecked.

    Args:
        rows: In the order of the model's columns.
    """

    rows: list[Any]


def encoded(cells: Cells, encoder: Encoder, *, missing: bool) -> Tensor:
    """Cells as a model takes them.

    Args:
        cells: Of one example at least.
        encoder: Of the model.
        missing: Whether quantities may be empty.

    Returns:
        ``[B, F] float32``.

    Raises:
        Refusal: The first row or cell that is no input, and why.
    """
    rows = [_texts(row, encoder, example=at) for at, row in enumerate(cells.rows)]
    for at, row in enumerate(rows):
        if problem := problem_of(row, encoder, missing=missing):
            raise bad_request(f"example {at}: {problem}")
    return encoder.encode(rows, where="the request")


def _texts(row: Any, encoder: Encoder, *, example: int) -> list[str]:
    if not isinstance(row, list) or len(row) != len(encoder.names):
        got = f"{len(row)} values" if isinstance(row, list) else kind(row)
        raise bad_request(
            f"example {example} is {got}; expected a list of {len(encoder.names)}: {', '.join(encoder.names)}"
        )
    columns = zip(encoder.names, encoder.categories, row, strict=True)
    return [
        _text(value, known or (), where=f"example {example}: column {name}") for name, known, value in columns
    ]


def _text(value: Any, known: Sequence[str], *, where: str) -> str:
    """A value of JSON as the cell of a file that it would stand in."""
    if isinstance(value, bool):
        # Files have "true" or "True", by what wrote them.
        return str(value).lower() if str(value).lower() in known else str(value)
    if value is None or isinstance(value, str | int | float):
        return text_of(value)
    raise bad_request(f"{where} holds {kind(value)}; expected a number, a text, true, false or null")
