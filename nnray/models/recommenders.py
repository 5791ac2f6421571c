"""Models of ratings: what is learnt of each user and each film, by two codes, the user's first.

Parameters of users stand in ``user`` alone, so that a federated run can keep them at their clients:
``federated.strategy: {name: fedper, personal: ["net.user.*"]}``. Suffixes: B examples, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.errors import DataError
from nnray.fields import NonNegative, PositiveInt, Probability
from nnray.models.layers import dropout_layer
from nnray.models.rankers import FactorRanker, is_ranked


class Table(nn.Module):
    """A bias and a vector for each code; code 0, for what is unknown, starts at zero in both."""

    def __init__(self, count: int, width: int, *, std: float) -> None:
        super().__init__()
        self.bias, self.vector = nn.Embedding(count, 1), nn.Embedding(count, width)
        with torch.no_grad():
            self.bias.weight.zero_()
            self.vector.weight.normal_(std=std)
            self.vector.weight[0] = 0


class MatrixFactorization(nn.Module):
    """A user's bias, a film's, and the product of their vectors."""

    def __init__(self, users: int, films: int, *, width: int, std: float, dropout: float) -> None:
        super().__init__()
        self.user, self.film = Table(users, width, std=std), Table(films, width, std=std)
        self.mean, self.dropout = nn.Parameter(torch.zeros(())), dropout_layer(dropout)

    def forward(self, inputs_B2: Tensor) -> Tensor:
        """One number for each example, ``[B]``."""
        user_B, film_B = inputs_B2.long().unbind(1)
        product_BD = self.user.vector(user_B) * self.film.vector(film_B)
        biases_B = (self.user.bias(user_B) + self.film.bias(film_B))[:, 0]
        number_B: Tensor = self.mean + biases_B + self.dropout(product_BD).sum(1)
        return number_B


class NeuMF(nn.Module):
    """A weighted product of vectors beside layers over both, with a bias of each."""

    def __init__(
        self, users: int, films: int, *, width: int, hidden: Sequence[int], std: float, dropout: float
    ) -> None:
        super().__init__()
        # The first half of a vector is multiplied, the second is what the layers get.
        self.user, self.film = Table(users, 2 * width, std=std), Table(films, 2 * width, std=std)
        self.layers, size = nn.ModuleList(), 2 * width
        for units in hidden:
            self.layers.append(nn.Linear(size, units))
            size = units
        self.dropout, self.output = dropout_layer(dropout), nn.Linear(width + size, 1)

    def forward(self, inputs_B2: Tensor) -> Tensor:
        """One number for each example, ``[B]``."""
        user_B, film_B = inputs_B2.long().unbind(1)
        of_user, for_user = self.user.vector(user_B).chunk(2, dim=1)
        of_film, for_film = self.film.vector(film_B).chunk(2, dim=1)
        x = torch.cat([for_user, for_film], dim=1)
        for layer in self.layers:
            x = self.dropout(torch.relu(layer(x)))
        both = self.output(torch.cat([self.dropout(of_user * of_film), x], dim=1))
        number_B: Tensor = (both + self.user.bias(user_B) + self.film.bias(film_B))[:, 0]
        return number_B


def matrix_factorization(
    info: DataInfo, *, width: PositiveInt = 16, dropout: Probability = 0.0, init_std: NonNegative = 0.1
) -> nn.Module:
    """A bias and a vector for each user and film; a rating is the biases and the vectors' product.

    Where films are to be ranked for users, it scores all films at once: a user's own bias is left out.

    Args:
        width: Numbers in a vector.
        dropout: Share of the product's terms dropped.
        init_std: Deviation of the vectors before training.

    Source: Koren, Bell and Volinsky, "Matrix factorization techniques for recommender systems", 2009,
        equation 4.
    """
    if is_ranked(info):
        (users,), (films,) = info.categories, info.target_shape
        return FactorRanker(users, films, width=width, std=init_std, dropout=dropout)
    users, films = pair_of(info, "matrix_factorization")
    return MatrixFactorization(users, films, width=width, std=init_std, dropout=dropout)


def neumf(
    info: DataInfo,
    *,
    width: PositiveInt = 16,
    hidden: Sequence[PositiveInt] = (32, 16),
    dropout: Probability = 0.0,
    init_std: NonNegative = 0.1,
) -> nn.Module:
    """Neural matrix factorization: a product of vectors beside a network over them.

    Args:
        width: Numbers in a vector, of each of the two parts.
        hidden: Units of the layers over the vectors.
        dropout: Share of units dropped after each layer, and of the product's terms.
        init_std: Deviation of the vectors before training.

    Source: He et al., "Neural collaborative filtering", 2017, section 3.4; with biases of users and films, as
        here ratings are learnt, not clicks.
    """
    users, films = pair_of(info, "neumf")
    return NeuMF(users, films, width=width, hidden=hidden, std=init_std, dropout=dropout)


def pair_of(info: DataInfo, model: str) -> tuple[int, int]:
    """Into how many categories users and films part.

    Raises:
        DataError: The data are something else than pairs with one number to be answered.
    """
    counts = info.categories
    if len(counts) != 2 or not all(counts) or info.output_shape != ():
        raise DataError(
            f"model {model} takes pairs of codes, a user and what is rated, with one number each; data set "
            f"{info.name} has inputs of shape {list(info.input_shape)}, {sum(map(bool, counts))} of them "
            f"categories, and {info.targets} of shape {list(info.target_shape)}: use model tabular_mlp"
        )
    return counts[0], counts[1]
