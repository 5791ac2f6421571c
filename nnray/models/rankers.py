"""Scores of all places at once, such as of all films for a user: by a vector of each of the two.

What is learnt of users stands in ``user`` alone, as in `nnray.models.recommenders`, so that a federated run
can keep it at its clients. Suffixes: B examples, D dimensions, K places.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.models.layers import dropout_layer


class FactorRanker(nn.Module):
    """The product of a user's vector and each film's, plus the film's bias.

    Args:
        users: Codes of users, 0 for an unknown one, whose vector starts at zero: to it films are as popular
            as they are to all.
        films: Places of the outputs.
        width: Numbers in a vector.
        std: Deviation of the vectors before training.
        dropout: Share of the product's terms dropped.
    """

    def __init__(self, users: int, films: int, *, width: int, std: float, dropout: float) -> None:
        super().__init__()
        self.user, self.film = nn.Embedding(users, width), nn.Linear(width, films)
        self.dropout = dropout_layer(dropout)
        with torch.no_grad():
            self.user.weight.normal_(std=std)
            self.user.weight[0] = 0
            self.film.weight.normal_(std=std)
            self.film.bias.zero_()

    def forward(self, inputs_B1: Tensor) -> Tensor:
        """A score for each film, ``[B, K]``."""
        scores_BK: Tensor = self.film(self.dropout(self.user(inputs_B1[:, 0].long())))
        return scores_BK


def is_ranked(info: DataInfo) -> bool:
    """Whether examples are users of whom each place of a row is asked, yes or no."""
    return (
        info.targets == "classes"
        and info.num_classes == 2
        and len(info.target_shape) == 1
        and len(info.categories) == 1
    )
