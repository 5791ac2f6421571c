"""What clients' devices can do, as arrays over clients: a few numbers for each, whatever the population.

Legend: N clients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nnray.errors import DataError
from nnray.federated.virtual.windows import Windows, micros

Floats = NDArray[np.float64]
_SLOWEST_STEP_S, _SLOWEST_LINK = 1e6, 1.0
"""A step of eleven days, and a byte a second: what is slower is a mistake."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Devices:
    """One device for each client.

    Args:
        step_s: Time of an optimizer step.
        down: Speed of its link from the server.
        up: Speed of its link to the server.
        dropout: Probability that it drops out of a round that it has begun.
        windows: When it is there; None for always.

    Shape:
        step_s, down, up, dropout: ``[N]``.

    Units:
        step_s: seconds. down, up: bytes a second.

    Raises:
        DataError: A device would never come to an end.
    """

    step_s: Floats
    down: Floats
    up: Floats
    dropout: Floats
    windows: Windows | None = None

    def __post_init__(self) -> None:
        _require("step_s", self.step_s, least=0.0, most=_SLOWEST_STEP_S)
        _require("down_bytes_s", self.down, least=_SLOWEST_LINK, most=np.inf)
        _require("up_bytes_s", self.up, least=_SLOWEST_LINK, most=np.inf)
        _require("dropout", self.dropout, least=0.0, most=float(np.nextafter(1.0, 0.0)))

    def __len__(self) -> int:
        return len(self.step_s)

    def duration(self, client: int, *, num_steps: int, bytes_down: int, bytes_up: int) -> int:
        """Microseconds from the moment a client is sent the weights until its message is there."""
        seconds = (
            bytes_down / self.down[client] + num_steps * self.step_s[client] + bytes_up / self.up[client]
        )
        return micros(float(seconds))


def _require(name: str, values: Floats, *, least: float, most: float) -> None:
    wrong = np.flatnonzero(~((values >= least) & (values <= most)))
    if len(wrong):
        client = int(wrong[0])
        raise DataError(
            f"federated.devices: {name} of client {client} is {values[client]:g}; "
            f"allowed: {least:g} to {most:g}"
        )
