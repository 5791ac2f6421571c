"""Ranking: of each example, the places that are to be found among many, such as the next film of a user.

Targets are 1 where something is to be found, 0 where it is to come behind that, and -100 where nothing is
asked. Every place that is asked counts, none is drawn: figures against 99 drawn ones are far higher. Of
places with the same score, half count as before the other half.

Shapes: B examples of a batch, K places, P pairs of an example and a place of it that is to be found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from nnray.errors import DataError
from nnray.fields import PositiveInt
from nnray.metrics import Array, MetricSums
from nnray.tasks.exhibit import Exhibit, Passage

if TYPE_CHECKING:
    from nnray.data.splits import DataInfo

_NO_CLASS = -100
_PAIRS = 256
"""Compared at a time with all places."""
_SHOWN = 8
Kind = Literal["softmax", "bpr"]


def ranking(
    info: DataInfo, *, loss: Kind = "bpr", negatives: PositiveInt = 4, top: PositiveInt = 10
) -> Ranking:
    """What is to be found among all that is asked: hit rate and NDCG, beside those of popularity.

    Args:
        loss: ``bpr`` compares what is to be found with places drawn at random, one by one; ``softmax`` with
            all others together.
        negatives: With ``bpr``, places drawn anew in each step for each one that is to be found; one that is
            to be found itself, or isn't asked for, is not compared with.
        top: A place is found if fewer than so many come before it.

    Source:
        Rendle et al., "BPR: Bayesian personalized ranking from implicit feedback", 2009, section 4, with the
        mean over users, as in its AUC; Krichene and Rendle, "On sampled metrics for item recommendation",
        2020, why none is drawn in measuring.
    """
    if info.targets != "classes" or info.num_classes != 2 or len(info.target_shape) != 1:
        raise DataError(
            f"task ranking asks of each place whether it is to be found; data set {info.name} has "
            f"{info.targets} of shape {list(info.target_shape)} and {info.num_classes} classes: use a data "
            "set such as movielens_ranking"
        )
    return Ranking(
        info.target_shape, info.target_rates, info.target_names, kind=loss, negatives=negatives, top=top
    )


@dataclass(frozen=True, slots=True)
class Ranking:
    """The task of finding places; made by `ranking`."""

    output_shape: tuple[int, ...]
    rates: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    kind: Kind = "bpr"
    negatives: int = 4
    top: int = 10

    def loss_of(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Scores, and the loss; with ``bpr``, an estimate of it by places that are drawn."""
        outputs = model(inputs)
        if self.kind == "softmax":
            return outputs, self.loss(outputs, targets)
        return outputs, drawn_bpr(outputs, targets, negatives=self.negatives)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The mean over examples that have something to be found, against all places that are asked.

        Shape:
            outputs: ``[B, K]`` scores.
        """
        return self._losses(outputs, targets).sum() / _asked(targets).sum().clamp(min=1)

    def _losses(self, scores_BK: Tensor, targets: Tensor) -> Tensor:
        """Of each example, the mean over what is to be found; 0 where there is nothing."""
        if self.kind == "softmax":
            logs_BK = scores_BK.masked_fill(targets == _NO_CLASS, -torch.inf).log_softmax(1)
            found_BK = targets == 1
            return -logs_BK.masked_fill(~found_BK, 0).sum(1) / found_BK.sum(1).clamp(min=1)
        parts = [
            (softplus(scores_BK[row_P] - score_P[:, None]) * behind_PK).sum(1) / behind_PK.sum(1).clamp(min=1)
            for row_P, score_P, behind_PK in _pairs(scores_BK, targets)
        ]
        return _by_example(torch.cat(parts) if parts else scores_BK.new_empty(0), targets)

    def train_sums(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> dict[str, Tensor]:
        """The loss, and how many examples have something to be found."""
        asked = _asked(targets).sum()
        return {"loss": loss.detach() * asked, "asked": asked}

    @torch.no_grad()
    def eval_sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Likewise, with hits and gains of the scores, and of popularity where it is known."""
        wide = torch.float32 if outputs.device.type == "mps" else torch.float64
        sums = {
            "loss": self._losses(outputs.float(), targets).sum(dtype=wide),
            "asked": _asked(targets).sum(),
        }
        sums["hits"], sums["gains"] = self._found(outputs.to(wide), targets)
        if self.rates:
            popular = outputs.new_tensor(self.rates, dtype=wide).expand(outputs.shape)
            sums["popular_hits"], sums["popular_gains"] = self._found(popular, targets)
        return sums

    def _found(self, scores_BK: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of what is to be found that are among the first, and gains over the best possible."""
        before = [
            _before(scores_BK[row_P], score_P, asked_PK=targets[row_P] != _NO_CLASS)
            for row_P, score_P, _ in _pairs(scores_BK, targets)
        ]
        before_P = torch.cat(before) if before else scores_BK.new_empty(0)
        hit_P = (before_P < self.top).to(scores_BK.dtype)
        gain_B = _by_example(hit_P / (before_P + 2).log2(), targets)
        count_B = (targets == 1).sum(1)
        ideal = (
            1 / torch.arange(2, self.top + 2, dtype=scores_BK.dtype, device=scores_BK.device).log2()
        ).cumsum(0)
        best_B = ideal[count_B.clamp(1, self.top) - 1]
        return _by_example(hit_P, targets).sum(), (gain_B * count_B / best_B).sum()

    def exhibits(
        self, model: nn.Module, inputs: Tensor, targets: Tensor, *, seed: int
    ) -> Mapping[str, Exhibit]:
        """What a few examples are told first of all that they are asked, with a star where it is right."""
        inputs, targets = inputs[:_SHOWN], targets[:_SHOWN]
        scores_BK = model(inputs).float().masked_fill(targets == _NO_CLASS, -torch.inf)
        names = self.names or tuple(f"place {place}" for place in range(targets.shape[1]))
        lines = []
        for row, order in enumerate(torch.argsort(scores_BK, dim=1, descending=True, stable=True)):
            asked = [place for place in order.tolist() if targets[row, place] != _NO_CLASS]
            lines.append(f"example {row}, {len(order) - len(asked)} places not asked for")
            marks = ("*" if targets[row, place] == 1 else " " for place in asked)
            shown = zip(marks, asked[: self.top], strict=False)
            lines += [f"  {mark} {names[place]}" for mark, place in shown]
        return {"first_places": Passage("\n".join(lines))}

    def summarize(self, sums: MetricSums) -> dict[str, float]:
        """Loss, ``hr`` and ``ndcg`` with how many places come first, and ``popularity_`` with the same.

        They are means over all examples: one with nothing to be found is a miss.
        """
        named = {"hits": f"hr{self.top}", "gains": f"ndcg{self.top}"}
        named |= {f"popular_{key}": f"popularity_{name}" for key, name in named.items()}
        found = {name: sums.mean(key) for key, name in named.items() if key in sums.sums}
        return {**self.summarize_train(sums), **found}

    def summarize_train(self, sums: MetricSums) -> dict[str, float]:
        """The loss; 0 where nothing is to be found."""
        return {"loss": float(sums.sums["loss"]) / (float(sums.sums["asked"]) or 1.0)}

    def confusion(self, sums: MetricSums) -> Array | None:
        """None: places are ranked, not classed."""
        return None


def drawn_bpr(scores_BK: Tensor, targets: Tensor, *, negatives: int) -> Tensor:
    """The BPR loss by places drawn for each one that is to be found; its expectation is the loss by all.

    Args:
        scores_BK: Of a model.
        targets: What is to be found.
        negatives: Places for each one. Torch's own generator draws, which the loop seeds by what is computed.
    """
    row_P, place_P = (targets == 1).nonzero().unbind(1)
    drawn_PN = torch.randint(targets.shape[1], (len(row_P), negatives), device=targets.device)
    behind_PN = targets[row_P[:, None], drawn_PN] == 0
    gaps_PN = scores_BK[row_P[:, None], drawn_PN] - scores_BK[row_P, place_P][:, None]
    losses_P = (softplus(gaps_PN) * behind_PN).sum(1) / behind_PN.sum(1).clamp(min=1)
    ones_P = behind_PN.any(1).to(scores_BK.dtype)
    totals, counts = (scores_BK.new_zeros(len(targets)).index_add(0, row_P, v) for v in (losses_P, ones_P))
    return (totals / counts.clamp(min=1)).sum() / (counts > 0).sum().clamp(min=1)


def _asked(targets: Tensor) -> Tensor:
    """Examples that have something to be found."""
    return (targets == 1).any(1)


def _pairs(scores_BK: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Some pairs at a time: their examples, their scores, and the places that are to come behind them."""
    for part_P2 in torch.split((targets == 1).nonzero(), _PAIRS):
        row_P, place_P = part_P2.unbind(1)
        yield row_P, scores_BK[row_P, place_P], targets[row_P] == 0


def _before(scores_PK: Tensor, score_P: Tensor, *, asked_PK: Tensor) -> Tensor:
    """How many places come before one of them, those of the same score counting half.

    NaN comes before all, so that a broken model finds nothing.
    """
    higher_P = (~(scores_PK <= score_P[:, None]) & asked_PK).sum(1)
    same_P = ((scores_PK == score_P[:, None]) & asked_PK).sum(1) - 1
    return higher_P + same_P.clamp(min=0).to(score_P.dtype) / 2


def _by_example(values_P: Tensor, targets: Tensor) -> Tensor:
    """The mean over each example's pairs; 0 where it has none."""
    rows_P, counts_B = (targets == 1).nonzero()[:, 0], (targets == 1).sum(1)
    return values_P.new_zeros(len(targets)).index_add(0, rows_P, values_P) / counts_B.clamp(min=1)
