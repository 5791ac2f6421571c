"""What a codec is: a vector becomes bytes, and those bytes a vector near the first one.

Both ends know the seed of a draw, so that what is drawn from it needs no bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from nnray.errors import DataError
from nnray.federated.weights import Slot

Share = Annotated[float, Field(gt=0, le=1)]
"""Above 0, at most 1."""
Array = NDArray[np.float32]


class Codec(Protocol):
    """Turns a vector into bytes, and back into one that is near it.

    Vectors are the tensors of a model one after another, without gaps; zeros come back as zeros.
    """

    @property
    def error_feedback(self) -> bool:
        """Whether what got lost is to be added to what is sent next: where the error's mean is not zero."""

    @property
    def shared_indices(self) -> bool:
        """Whether clients of one seed send the same entries, so that bytes can be summed before decoding."""

    @property
    def contracts(self) -> bool:
        """Whether a vector is never longer afterwards, but for rounding; error feedback apart."""

    def encode(self, vector: Tensor, *, seed: int) -> bytes:
        """What goes over the link.

        Args:
            vector: ``[P] float32``, on any device.
            seed: Of what is drawn.

        Raises:
            DataError: An entry is not finite.
        """

    def decode(self, data: bytes, size: int, *, seed: int) -> Tensor:
        """The vector that arrives, ``[P] float32`` on the CPU.

        Args:
            data: As encoded.
            size: Of the vector.
            seed: That it was encoded with.

        Raises:
            DataError: These are not the bytes of such a vector.
        """


def to_array(vector: Tensor) -> Array:
    """The entries of a vector, which must be finite.

    Raises:
        DataError: One is not.
    """
    array: Array = vector.detach().cpu().contiguous().numpy()
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise DataError(f"an update with {len(bad)} entries that are not finite can't be encoded "
                        f"(entry {bad[0]} is {array[bad[0]]})")  # fmt: skip
    return array


def require_bytes(data: bytes, expected: int) -> None:
    """Refuse bytes that were cut, or are of another vector.

    Raises:
        DataError: Their number is not the expected one.
    """
    if len(data) != expected:
        raise DataError(f"an encoded update of {expected} bytes was expected (got {len(data)})")


def float_bytes(values: NDArray[np.floating]) -> bytes:
    """Values as little-endian float32.

    Raises:
        DataError: One is beyond what float32 holds.
    """
    with np.errstate(over="ignore"):
        short = values.astype("<f4")
    if not np.isfinite(short).all():
        raise DataError("an update with entries near the end of float32 can't be encoded: take a smaller lr")
    return short.tobytes()


def float_up(values: NDArray[np.float64]) -> Array:
    """Values rounded up to float32, so that nothing measured in them is above 1."""
    with np.errstate(over="ignore"):
        short = values.astype(np.float32)
        return np.where(short < values, np.nextafter(short, np.float32(np.inf)), short)


def sizes_of(slots: Sequence[Slot], size: int) -> list[int]:
    """Entries of each tensor; a vector of which nothing is known is one tensor."""
    sizes = [slot.size for slot in slots] or [size]
    assert sum(sizes) == size, f"{size} entries are not those of the tensors {[slot.name for slot in slots]}"
    return sizes
