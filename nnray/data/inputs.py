"""What a model is asked about: pictures, texts, tables and arrays in files, as inputs in blocks of some MiB.

Nothing is held but the block at hand, so a million rows take no more memory than a thousand. What can't be
read is collected with its reason, to be told of all at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from nnray.data.input_files import files_of, pieces_of, read_piece, require_there
from nnray.data.input_pieces import Piece, Portion, Reading, Unreadable, nothing
from nnray.data.splits import DataInfo
from nnray.data.table_columns import is_of_table
from nnray.errors import DataError

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Block:
    """Some inputs.

    Args:
        names: A picture's path, or ``FILE:ROW``, rows counted from 0.
        inputs: As models take them: pixels from 0 to 1, numbers as they are, NaN where missing.

    Shape:
        inputs: ``[n, C, H, W]`` or ``[n, F] float32``, or ``[n, T] int64`` of tokens.
    """

    names: list[str]
    inputs: Tensor


@dataclass(slots=True)
class Tally:
    """What has been read, and what could not be.

    Args:
        skip: Whether to go on without what can't be read.
        rows: Inputs.
        unreadable: Files and rows that could not be read.
        converted: Pictures whose colours were changed, by from what to what.
    """

    skip: bool = False
    rows: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)
    converted: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> bool:
        """Whether there is no use in going on but for telling what else is wrong."""
        return bool(self.unreadable) and not self.skip

    def add(self, portion: Portion) -> None:
        """Count a portion.

        Raises:
            DataError: Enough could not be read to tell.
        """
        self.rows += len(portion.names)
        self.unreadable += portion.unreadable
        self.converted.update(portion.converted)
        if self.failed and len(self.unreadable) >= _SHOWN:
            raise self.error(more=True)

    def finish(self) -> None:
        """Check what came of all of it.

        Raises:
            DataError: Something could not be read, or there was nothing.
        """
        if self.failed or (self.unreadable and not self.rows):
            raise self.error()
        if not self.rows:
            raise DataError("there is nothing to read in what was given: no picture, and no table with rows")

    def error(self, *, more: bool = False) -> DataError:
        """All that could not be read."""
        listed = "\n  ".join(map(str, self.unreadable[:_SHOWN]))
        count = f"{'at least ' if more else ''}{len(self.unreadable)}"
        advice = "nothing is left" if self.skip else "mend or remove them, or go on with --skip-unreadable"
        return DataError(f"{count} input(s) can't be read; {advice}:\n  {listed}")

    def words(self) -> list[str]:
        """What a person should know of how inputs were read."""
        return [
            f"{count} picture(s) were changed from {which}, as the model takes them"
            for which, count in sorted(self.converted.items())
        ]


@dataclass(slots=True)
class Inputs:
    """Inputs in blocks; going through them again reads them again.

    Args:
        paths: Files and folders.
        reading: How they are read.
        skip_unreadable: Whether to go on without what can't be read.
        tally: Of the last time.
    """

    paths: tuple[str, ...]
    reading: Reading
    skip_unreadable: bool = False
    tally: Tally = field(default_factory=Tally)

    def pieces(self) -> Iterator[Piece | Unreadable]:
        """What to read, in order, for those who read elsewhere."""
        return pieces_of(files_of(self.paths, texts=bool(self.reading.encoder)), self.reading)

    def __iter__(self) -> Iterator[Block]:
        """All inputs, in order.

        Raises:
            DataError: With all that can't be read, or the first 20 of it; nothing comes after the first.
        """
        tally = self.tally = Tally(self.skip_unreadable)
        for portion in self._portions():
            tally.add(portion)
            if portion.names and not tally.failed:
                yield Block(portion.names, torch.from_numpy(portion.values))
        tally.finish()

    def _portions(self) -> Iterator[Portion]:
        for piece in self.pieces():
            if isinstance(piece, Unreadable):
                yield nothing(self.reading, piece)
            else:
                yield from read_piece(piece, self.reading)

    def collect(self, limit: int | None = None) -> Block:
        """Inputs together, for few.

        Args:
            limit: How many at most; the rest is not read.

        Raises:
            DataError: Some can't be read.
        """
        names: list[str] = []
        parts: list[Tensor] = []
        for block in self:
            names += block.names
            parts.append(block.inputs)
            if limit is not None and len(names) >= limit:
                break
        return Block(names[:limit], torch.cat(parts)[:limit])


def read_inputs(
    paths: Sequence[str | Path],
    info: DataInfo,
    *,
    label: str | None = None,
    columns: Sequence[str] = (),
    image: str | None = None,
    resize: bool = False,
    skip_unreadable: bool = False,
    delimiter: str = ",",
) -> Inputs:
    """Inputs of a model from pictures, texts, CSV, Parquet and .npz files, and folders of them.

    Args:
        paths: Files and folders, in order; folders with all that is in them, by name.
        info: Of the model: the shape of an input, and whether values may be missing.
        label: Column of tables to pass over, where there is one.
        columns: Columns that are the inputs, in the model's order; none named: all but the label.
        image: Column of encoded pictures in Parquet files.
        resize: Whether to scale pictures of other sizes.
        skip_unreadable: Whether to go on without what can't be read.
        delimiter: Between the columns of a CSV file of texts.

    Raises:
        DataError: A path is not there, or of an unknown kind; or the model takes ids of tokens, and doesn't
            know how texts become them.
    """
    require_there(paths)
    if info.vocabulary and not info.encoder:
        raise DataError(
            f"the model takes ids of tokens, and its data set {info.name} says nothing of how texts become "
            "them: return an encoder with the data"
        )
    encoder = info.encoder if info.vocabulary else ""
    reading = Reading(
        info.input_shape, info.missing, label, tuple(columns), image, resize, encoder, delimiter
    )
    if is_of_table(info.encoder):
        reading = replace(reading, cells=info.encoder)
    return Inputs(tuple(map(str, paths)), reading, skip_unreadable)
