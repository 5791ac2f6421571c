"""Language modelling: the next token at each place, learnt by cross-entropy.

Shapes: B texts of a batch, K tokens, T places. Targets are ``[B, T] int64``, -100 where none counts. Means
are over places that count, not over texts, so that they don't depend on how texts are cut.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from nnray.errors import DataError
from nnray.fields import NonNegative, PositiveInt
from nnray.metrics import Array, MetricSums
from nnray.tasks.exhibit import Passage
from nnray.tasks.sampling import sampled

if TYPE_CHECKING:
    from nnray.data.splits import DataInfo

_NO_CLASS = -100
_TEXTS = 3
"""How many texts are gone on with."""


def language(info: DataInfo, *, temperature: NonNegative = 0.8, sample_tokens: PositiveInt = 400) -> Language:
    """The next token at each place: loss in nats and in bits, perplexity, accuracy, and texts drawn.

    Args:
        temperature: Of the texts that are drawn to be read: below 1 the probable becomes more so, 0 takes
            the most probable token each time. Metrics don't depend on it.
        sample_tokens: How many tokens are drawn for each of them.
    """
    if info.targets != "classes" or not info.vocabulary:
        raise DataError(
            f"task language tells the next token at each place, data set {info.name} asks for {info.targets}"
            ": use a data set such as shakespeare, or task classification"
        )
    # Where classes are something else than tokens, such as parts of speech, there is no text to draw.
    tokens = info.classes if info.num_classes == info.vocabulary else ()
    return Language(tokens, info.encoder, temperature, sample_tokens)


@dataclass(frozen=True, slots=True)
class Language:
    """The task of telling the next token; made by `language`.

    Args:
        tokens: By id; empty where classes are no tokens.
        encoder: Of the data, which makes tokens a text; empty where it has none.
        temperature: Of the texts that are drawn.
        sample_tokens: Drawn for each.
    """

    tokens: tuple[str, ...] = ()
    encoder: str = ""
    temperature: float = 0.8
    sample_tokens: int = 400

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

    def exhibits(self, model: nn.Module, inputs: Tensor, targets: Tensor, *, seed: int) -> dict[str, Passage]:
        """What the model makes of the first halves of a few texts, as ``sampled_text``."""
        if not self.tokens:
            return {}
        begins_BT = _begins(inputs)
        drawn_BT = sampled(
            model,
            begins_BT,
            count=self.sample_tokens,
            length=inputs.shape[1],
            seed=seed,
            temperature=self.temperature,
        )
        rows = zip(begins_BT.tolist(), drawn_BT.tolist(), strict=True)
        parts = [f"begin: {self._text(begin)}\n\ndrawn: {self._text(drawn)}" for begin, drawn in rows]
        head = f"Validation texts, with {self.sample_tokens} tokens drawn at temperature {self.temperature:g}"
        return {"sampled_text": Passage("\n\n----\n\n".join([head, *parts]))}

    def _text(self, ids: list[int]) -> str:
        from nnray.data.tokens import from_json  # loads the library

        return from_json(self.encoder).decode(ids) if self.encoder else " ".join(self.tokens[n] for n in ids)


def _begins(inputs_BT: Tensor) -> Tensor:
    """The first halves of a few texts that are long enough; of the first ones the first token, if none is."""
    half_BT = inputs_BT[:, : max(1, inputs_BT.shape[1] // 2)]
    whole_BT = half_BT[(half_BT != 0).all(1)]
    return whole_BT[:_TEXTS] if len(whole_BT) else inputs_BT[:_TEXTS, :1]
