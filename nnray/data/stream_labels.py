"""Labels of a streamed set: gathered block by block as small integers, never as text."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nnray.data.stream import Array, Source
from nnray.errors import DataError

_SHOWN = 10
_MOST = 1 << 20


@dataclass(slots=True)
class LabelColumn:
    """A column of labels as it comes in, whole numbers or texts.

    Args:
        where: For messages.
        parts: What has come in, as integers.
        codes: What stands for each text.
    """

    where: str
    parts: list[Array] = field(default_factory=list)
    codes: dict[str, int] = field(default_factory=dict)

    def add(self, column: pa.ChunkedArray | pa.Array) -> None:
        """Take in a block of labels.

        Raises:
            DataError: Some are missing, or are neither texts nor whole numbers.
        """
        if column.null_count:
            raise DataError(
                f"{self.where}: {column.null_count} labels are missing; mend or remove those rows"
            )
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            self.parts.append(self._coded(column))
            return
        self.parts.append(_whole(column, where=self.where))

    def _coded(self, column: pa.ChunkedArray | pa.Array) -> Array:
        texts = pc.unique(column)
        for text in texts.to_pylist():
            self.codes.setdefault(text, len(self.codes))
        if len(self.codes) > _MOST:
            raise DataError(f"{self.where}: over {_MOST} different labels; is it the right column?")
        codes = np.array([self.codes[text] for text in texts.to_pylist()], dtype=np.int32)
        coded: Array = codes[pc.index_in(column, texts).to_numpy()]
        return coded

    def finish(self) -> tuple[Array, tuple[str, ...] | None]:
        """All labels, and the texts that they stand for, if they do."""
        labels = np.concatenate(self.parts) if self.parts else np.empty(0, np.int32)
        return labels, tuple(self.codes) if self.codes else None


def _whole(column: pa.ChunkedArray | pa.Array, *, where: str) -> Array:
    try:
        labels = column.cast(pa.float64()) if pa.types.is_boolean(column.type) else column
        whole: Array = labels.cast(pa.int32()).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{where}: labels are neither texts nor whole numbers from 0 on: {error}") from error
    return whole


def classes_of(train: Source, *, name: str) -> tuple[str, ...]:
    """Names of the classes of a set that doesn't say: its texts sorted, or its numbers.

    Raises:
        DataError: Less than two, or numbers that can't be labels.
    """
    if train.names is not None:
        found: tuple[str, ...] = tuple(sorted(train.names))
    else:
        highest = int(train.labels.max())
        if highest >= max(len(train.labels), 2):
            raise DataError(
                f"{name}: labels go up to {highest}, there are {len(train.labels)} examples; number the "
                "classes from 0 to K - 1"
            )
        found = tuple(str(label) for label in range(highest + 1))
    if len(found) < 2:
        raise DataError(f"{name}: classes are {list(found)}; expected at least two")
    return found


def numbered(source: Source, classes: tuple[str, ...], *, where: str) -> Array:
    """Labels of a source as positions in ``classes``, in the smallest type that holds them.

    Raises:
        DataError: Some are no classes.
    """
    small = np.uint8 if len(classes) <= 256 else np.uint16 if len(classes) <= 65536 else np.int32
    if source.names is None:
        low, high = int(source.labels.min()), int(source.labels.max())
        if low < 0 or high >= len(classes):
            raise DataError(f"{where}: labels go from {low} to {high}; allowed: 0 to {len(classes) - 1}")
        return source.labels.astype(small)
    number = {label: index for index, label in enumerate(classes)}
    if unknown := sorted(set(source.names) - number.keys()):
        listed = ", ".join(classes[:_SHOWN])
        raise DataError(f"{where}: labels {unknown[:_SHOWN]} are no classes; allowed: {listed}")
    return np.array([number[label] for label in source.names], dtype=small)[source.labels]
