"""What a worker of Ray Data does: it builds the model once, and answers piece by piece."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from numpy.typing import NDArray

from nnray.assembly.rebuilt import module_of
from nnray.data.input_files import read_piece
from nnray.data.input_pieces import Piece, Portion, Reading, Unreadable, nothing
from nnray.runners.prediction.answers import outputs_of
from nnray.runners.prediction.table import CONVERTED, SCHEMA


class PieceAnswerer:
    """Answers for pieces of inputs.

    Args:
        described: What the model is, as JSON.
        weights: As a file of safetensors.
        reading: How inputs are read, as JSON.
        batch_size: Inputs at a time.
        folder: That relative paths are below, where this machine has it.
    """

    def __init__(self, described: str, weights: Any, *, reading: str, batch_size: int, folder: str) -> None:
        import ray

        if Path(folder).is_dir():
            os.chdir(folder)
        torch.set_num_threads(1)
        held = weights if isinstance(weights, bytes) else ray.get(weights)
        self._module = module_of(json.loads(described), held)
        self._reading = reading_of(reading)
        self._batch_size = batch_size

    def __call__(self, batch: dict[str, NDArray[Any]]) -> Iterator[pa.Table]:
        """A table for each portion of the pieces."""
        for kind, item in zip(batch["kind"].tolist(), batch["piece"].tolist(), strict=True):
            values = json.loads(item)
            if kind == Unreadable.__name__:
                yield self._table(nothing(self._reading, Unreadable(**values)))
                continue
            for portion in read_piece(Piece(**values | {"paths": tuple(values["paths"])}), self._reading):
                yield self._table(portion)

    def _table(self, portion: Portion) -> pa.Table:
        found: list[Any] = []
        if portion.names:
            inputs = torch.from_numpy(portion.values)
            device = torch.device("cpu")
            found = list(outputs_of(self._module, inputs, batch_size=self._batch_size, device=device))
        told = [(each.name, each.reason) for each in portion.unreadable]
        if portion.converted:
            told.append((CONVERTED, json.dumps(portion.converted)))
        names = [*portion.names, *(name for name, _ in told)]
        problems = [*[None] * len(found), *(problem for _, problem in told)]
        return pa.table([names, problems, [*found, *[None] * len(told)]], schema=SCHEMA)


def reading_of(text: str) -> Reading:
    """How inputs are read, from JSON."""
    values = json.loads(text)
    return Reading(**values | {name: tuple(values[name]) for name in ("shape", "columns")})
