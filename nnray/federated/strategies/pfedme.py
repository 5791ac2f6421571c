"""pFedMe: the global model is what all personal ones are near, by a Moreau envelope of each client's loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from nnray.errors import ConfigError, Problem
from nnray.federated.strategies.fedavg import FedAvg, moved
from nnray.federated.strategy import ClientUpdate, Means, Message, Pull, Stage, Vectors, Weighted
from nnray.fields import Positive, PositiveInt


def pfedme(
    *, lam: Positive = 15.0, inner_steps: PositiveInt = 5, local_lr: Positive = 0.005, beta: Positive = 1.0
) -> PFedMe:
    """pFedMe: on each batch a client looks for a model of its own near its copy of the global one.

    The experiment's local steps are the paper's local rounds; its optimizer takes the steps of the personal
    model, ``inner_steps`` on each batch, and is begun anew for each batch.

    Args:
        lam: Strength of the pull between both models.
        inner_steps: Of the personal model on each batch, the paper's K.
        local_lr: By which the copy of the global model follows the personal one, the paper's eta;
            below 2 / ``lam``.
        beta: Share of the way to the mean of the copies that the server goes; above 1 it goes beyond.

    Source:
        Dinh et al. 2020, algorithm 1. As in the authors' code, the personal model goes on from batch to batch
        of a round, and begins each round at the global one.
    """
    if local_lr * lam >= 2:
        message = (
            f"times lam must be below 2, or the copies run away (got {local_lr} x {lam}): lower one of them"
        )
        raise ConfigError("this experiment", [Problem("federated.strategy.local_lr", message)])
    return PFedMe(weighting="uniform", lam=lam, inner_steps=inner_steps, local_lr=local_lr, beta=beta)


@dataclass(frozen=True, slots=True, kw_only=True)
class PFedMe(FedAvg):
    """A stage for each batch; the copy of the global model is carried from one to the next.

    Args:
        lam: Strength of the pull.
        inner_steps: Of the personal model on each batch.
        local_lr: Of the copy.
        beta: Of the server.
    """

    lam: float
    inner_steps: int
    local_lr: float
    beta: float
    has_client_state: ClassVar[bool] = True
    is_staged: ClassVar[bool] = True

    def personal(self, params: Tensor, client: Vectors) -> Tensor:
        """The client's own model, as its last round left it."""
        return client["params"]

    def next_pull(self, stage: Stage, *, server: Vectors, client: Vectors) -> Pull | None:
        """The steps on the next batch."""
        if stage.number == stage.num_steps:
            return None
        copy = self._followed(stage.carried["copy"], stage.params) if stage.number else stage.start
        carried = {"copy": copy, "start": stage.start}
        return Pull(proximal=self.lam, anchor=copy, steps=1, repeat=self.inner_steps, carried=carried)

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        """The change of the copy of the global model; the personal one is kept."""
        assert update.end is not None
        copy = self._followed(update.carried["copy"], update.end)
        delta = Weighted(copy - update.carried["start"], self.weight(update))
        return Message({"delta": delta}, kept={"params": update.end})

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        """Go to the mean of the copies, or a part of the way."""
        return moved(params, self.beta * means.vectors["delta"]), {}

    def _followed(self, copy: Tensor, personal: Tensor) -> Tensor:
        """The copy of the global model, after a step towards the personal one."""
        return copy - self.local_lr * self.lam * (copy - personal)
