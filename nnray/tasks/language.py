"""Language modelling: the next token at each place, learnt by cross-entropy.

Shapes: B texts of a batch, K tokens, T places. Targets are ``[B, T] int64``, -100 where none counts. Means
are over places that count, not over texts, so that they don't depend on how texts are cut.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from nnray.errors import DataError
from nnray.metrics import Array, MetricSums

if TYPE_CHECKING:
    from nnray.data.splits import DataInfo

_NO_CLASS = -100


def language(info: DataInfo) -> Language:
    """The next token at each place: loss in nats and in bits, perplexity, accuracy."""
    if info.targets != "classes" or not info.vocabulary:
        raise DataError(
            f"task language tells the next token at each place, data set {info.name} asks for {info.targets}"
            ": use a data set such as shakespeare, or task classification"
        )
    return Language()


@dataclass(frozen=True, slots=True)
class Language:
    """The task of telling the next token; made by `language`."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean cross-entropy over places that count, in nats; 0 where none does.

        Shape:
            outputs: ``[B, K, T]`` logits.
        """
        total = cross_entropy(outputs, targets, reduction="sum")
        return total / (targets != _NO_CLASS).sum().clamp(min=1)

    def example_losses(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Each text's summed cross-entropy, and how many of its places count.

        Shape:
            outputs: ``[B, K, T]`` logits.
        """
        losses_BT = cross_entropy(outputs, targets, reduction="none")
        return losses_BT.sum(1), (targets != _NO_CLASS).sum(1).to(losses_BT.dtype)

    def train_sums(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> dict[str, Tensor]:
        """Loss, hits, and places that count."""
        tokens = (targets != _NO_CLASS).sum()
        hits = (outputs.argmax(1) == targets).sum()
        return {"loss": loss.detach() * tokens, "correct": hits, "tokens": tokens}

    @torch.no_grad()
    def eval_sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Likewise, in full precision."""
        losses_BT = cross_entropy(outputs.float(), targets, reduction="none")
        wide = torch.float32 if outputs.device.type == "mps" else torch.float64
        hits = (outputs.argmax(1) == targets).sum()
        return {"loss": losses_BT.sum(dtype=wide), "correct": hits, "tokens": (targets != _NO_CLASS).sum()}

    def summarize(self, sums: MetricSums) -> dict[str, float]:
        """Loss in nats, ``loss_bits``, perplexity, and accuracy; NaN where nothing counts."""
        metrics = self.summarize_train(sums)
        loss = metrics["loss"]
        return metrics | {"loss_bits": loss / math.log(2), "perplexity": math.exp(min(loss, 700.0))}

    def summarize_train(self, sums: MetricSums) -> dict[str, float]:
        """Loss and accuracy."""
        tokens = float(sums.sums["tokens"]) or math.nan
        return {
            "loss": float(sums.sums["loss"]) / tokens,
            "accuracy": float(sums.sums["correct"]) / tokens,
        }

    def confusion(self, sums: MetricSums) -> Array | None:
        """None: a vocabulary has too many pairs."""
        return None
