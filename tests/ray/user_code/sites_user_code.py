"""Patients in files, one file a clinic; and strategies in which a clinic or the server goes wrong."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnray.federated.strategies.scaffold import Scaffold
from nnray.federated.strategy import ClientUpdate, Means, Message, Vectors, Weighted


def patients(*, root: str, broken: str = "") -> dict[str, Any]:
    """All files of a folder, in order, each a clinic.

    Args:
        broken: Name of a clinic that can't be read.
    """
    paths = sorted(Path(root).glob("*.npz"))
    _note_reader(Path(root))
    parts = [np.load(path) for path in paths]
    for path, part in zip(paths, parts, strict=True):
        if path.stem == broken:
            raise ValueError(f"{part['names'][0]} has {part['x'][0].tolist()}")
    names = np.concatenate([[path.stem] * len(part["y"]) for path, part in zip(paths, parts, strict=True)])
    train = (np.concatenate([part["x"] for part in parts]), np.concatenate([part["y"] for part in parts]))
    return {"train": train, "groups": names, "classes": ["well", "ill"]}


def _note_reader(folder: Path) -> None:
    import ray

    node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else "none"
    with (folder / "readers").open("a") as file:
        file.write(f"{node}\n")


def breaks(*, how: str, client: int, once: str = "") -> Breaking:
    """SCAFFOLD in which one clinic breaks.

    Args:
        how: ``raise``, ``extra``, ``kill``, or ``node``, which kills the node that it runs on.
        client: Which.
        once: A file that is made the first time, after which nothing breaks any more.
    """
    return Breaking(weighting="uniform", how=how, client=client, once=once)


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaking(Scaffold):
    """See `breaks`."""

    how: str
    client: int
    once: str

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        sent = Scaffold.message(self, update, server=server, client=client)
        is_real = update.num_examples > 1 and update.client == self.client
        if not is_real or (self.once and Path(self.once).exists()):
            return sent
        if self.once:
            Path(self.once).touch()
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "node":
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "raise":
            raise RuntimeError(f"CANARY-of-client-{update.client}: {update.delta}")
        return Message({**sent.vectors, "extra": Weighted(torch.ones_like(update.delta))}, kept=sent.kept)


def halts(*, number: int, once: str) -> Halting:
    """SCAFFOLD whose server is killed in the middle of a round.

    Args:
        number: Of the round.
        once: A file that is made the first time, after which nothing is killed any more.
    """
    return Halting(weighting="uniform", number=number, once=once)


@dataclass(frozen=True, slots=True, kw_only=True)
class Halting(Scaffold):
    """See `halts`."""

    number: int
    once: str

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        if means.round == self.number and not Path(self.once).exists():
            Path(self.once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Scaffold.step(self, params, means, server=server)
