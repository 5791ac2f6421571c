"""A strategy in which one client goes wrong, as an experiment file names it."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass
from pathlib import Path

import torch

from nnray.federated.strategies.fedavg import FedAvg
from nnray.federated.strategy import ClientUpdate, Message, Vectors, Weighted


def breaks(*, how: str, clients: list[int], once: str | None = None) -> FedAvg:
    """Federated averaging in which some clients break.

    Args:
        how: ``raise``, ``nan``, ``shape``, ``kill`` or ``hang``.
        clients: Which.
        once: A file that is made the first time, after which nothing breaks any more.
    """
    return Breaking(how=how, clients=tuple(clients), once=once)


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaking(FedAvg):
    """See `breaks`."""

    how: str
    clients: tuple[int, ...]
    once: str | None

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        sent = FedAvg.message(self, update, server=server, client=client)
        if update.client not in self.clients or not self._is_due():
            return sent
        if self.how == "raise":
            raise RuntimeError(f"the sensor of client {update.client} is off")
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "hang":
            threading.Event().wait(600)
        bad = torch.full_like(update.delta, torch.nan) if self.how == "nan" else update.delta[:5]
        return Message({"delta": Weighted(bad, 1.0)})

    def _is_due(self) -> bool:
        if self.once is None:
            return True
        try:
            Path(self.once).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True
