"""Shapley values: each player's fair share of what the score gains over the baseline.

Players are features, or square patches of an image; one that is absent has the baseline's values. There are
three ways: all coalitions (exact, for few players), whole orders of the players (whose sum is exact whatever
their number), and a regression on coalitions (KernelSHAP).

Shapes: B examples, P players, S coalitions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import comb
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, Problem
from nnray.explainers.explainer import ROWS, Baseline, BaselineName, baseline_of, scores
from nnray.fields import PositiveInt
from nnray.seeding import torch_rng

Way = Literal["auto", "exact", "permutation", "kernel"]
Values = Callable[[Tensor], Tensor]
"""The score of each example under each coalition, ``[S, P] bool -> [S, B] float64``."""
FEW, MOST = 10, 16
"""Players up to which ``auto`` and ``exact`` go through all coalitions: 1,024 and 65,536."""
GRID = 7
"""Patches that an image's side is cut into by default."""


def shap(
    info: DataInfo,
    *,
    way: Way = "auto",
    samples: PositiveInt = 32,
    patch: PositiveInt | None = None,
    baseline: BaselineName = "auto",
    seed: int = 0,
) -> Shap:
    """Shapley values of features, or of an image's patches; they sum to the gain in score.

    Args:
        way: exact goes through all coalitions, of 16 players at the most; permutation through random orders
            and each one's reverse; kernel fits random coalitions; auto is exact up to 10 players, else
            permutation.
        samples: Pairs of orders; kernel draws as many coalitions as that many pairs hold.
        patch: Pixels of a patch's side; by default a seventh of the image's. Its pixels share its value.
        baseline: What is absent has the value zero (black), mean (of the training data), or auto: zero for
            images, mean for vectors.
        seed: Of the orders and coalitions.

    Raises:
        ConfigError: There are too many players for ``exact``.

    Source:
        Lundberg and Lee 2017, equations 8 and 9 and theorem 2 (kernel); Mitchell et al. 2022, section 4.1
        (reversed orders); Sundararajan and Najmi 2020, section 3.1 (one baseline). All examples of a batch
        share orders and coalitions.
    """
    players = players_of(info.input_shape, patch)
    count = int(players.max()) + 1
    if way == "exact" and count > MOST:
        message = f"exact takes {MOST} players at the most, here are {count}: take permutation"
        raise ConfigError("shap", [Problem("way", message)])
    chosen = ("exact" if count <= FEW else "permutation") if way == "auto" else way
    return Shap(chosen, samples, baseline_of(info, baseline), players, seed)


def players_of(shape: tuple[int, ...], patch: int | None) -> Tensor:
    """The number of the player that each value of an input belongs to, of the input's shape."""
    if len(shape) == 1:
        return torch.arange(shape[0])
    _, height, width = shape
    side = patch or max(1, round(min(height, width) / GRID))
    down, along = torch.arange(height) // side, torch.arange(width) // side
    return (down[:, None] * (int(along[-1]) + 1) + along).expand(shape)


@dataclass(frozen=True, slots=True, eq=False)
class Shap:
    """Made by ``shap``.

    Args:
        way: How.
        samples: Pairs of orders.
        baseline: Of what is absent.
        players: Number of the player of each value.
        seed: Of the draws.
    """

    takes_codes: ClassVar[bool] = True  # leaves inputs out, and moves none

    way: str
    samples: int
    baseline: Baseline
    players: Tensor
    seed: int

    def reference(self, inputs: Tensor) -> Tensor:
        """The baseline of each input."""
        return self.baseline.of(inputs)

    def __call__(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """Each value's share; the values of a patch have equal ones."""
        absent, players = self.reference(inputs), self.players.to(inputs.device)

        def value(present_SP: Tensor) -> Tensor:
            mixed = torch.where(present_SP[:, None, players], inputs, absent)
            rows = targets.expand(len(present_SP), -1).flatten()
            return scores(model, mixed.flatten(0, 1), targets=rows).double().reshape(len(present_SP), -1)

        most = max(1, ROWS // len(inputs))

        def values(present_SP: Tensor) -> Tensor:
            return torch.cat([value(block) for block in torch.split(present_SP, most)])

        values_BP = self._shares(values, int(players.max()) + 1)
        size_P = torch.bincount(players.flatten())
        return (values_BP / size_P)[:, players].to(inputs)

    def _shares(self, values: Values, count: int) -> Tensor:
        if self.way == "exact" or count == 1:
            return exact(values, count)
        if self.way == "permutation":
            return by_permutation(values, count, samples=self.samples, seed=self.seed)
        return by_kernel(values, count, samples=self.samples, seed=self.seed)


def exact(values: Values, count: int) -> Tensor:
    """Shapley values from all coalitions, ``[B, P]``.

    Args:
        values: Of coalitions.
        count: Of players.
    """
    coalitions_SP = torch.tensor(list(product((False, True), repeat=count)))
    values_SB, sizes_S = values(coalitions_SP), coalitions_SP.sum(1)
    weight = torch.tensor([1 / (count * comb(count - 1, size)) for size in range(count)]).to(values_SB)
    shares = []
    for has_S in coalitions_SP.T:
        # Binary counting: with and without the player, the others' coalitions come in the same order.
        gains_SB = values_SB[has_S] - values_SB[~has_S]
        shares.append(weight[sizes_S[~has_S]] @ gains_SB)
    return torch.stack(shares, dim=1)


def by_permutation(values: Values, count: int, *, samples: int, seed: int) -> Tensor:
    """Mean gain of each player as it comes in, over random orders and their reverses, ``[B, P]``."""
    rng = torch_rng(seed, "shap", "permutation")
    ends_SB = values(torch.tensor([[False], [True]]).expand(2, count))
    total_BP = ends_SB.new_zeros(ends_SB.shape[1], count)
    ladder = torch.ones(count, count, dtype=torch.bool).tril()[:-1]
    for _ in range(samples):
        order = torch.randperm(count, generator=rng)
        for way in (order, order.flip(0)):
            # Row k of the ladder has the first k + 1 of the order present.
            between_SB = values(ladder[:, way.argsort()])
            gains_PB = torch.cat([ends_SB[:1], between_SB, ends_SB[1:]]).diff(dim=0)
            total_BP[:, way] += gains_PB.T
    return total_BP / (2 * samples)


def by_kernel(values: Values, count: int, *, samples: int, seed: int) -> Tensor:
    """Least squares on random coalitions and their complements, the sum held exact, ``[B, P]``.

    The last player's share is what the others leave, which takes the constraint out of the regression.
    """
    drawn_SP = _coalitions(count, samples=samples * count, seed=seed)
    none_B, all_B = values(torch.tensor([[False], [True]]).expand(2, count))
    gain_B, rise_SB = all_B - none_B, values(drawn_SP) - none_B
    last_S1 = drawn_SP[:, -1:].to(gain_B)
    design = drawn_SP[:, :-1].to(gain_B) - last_S1
    # Few coalitions may leave shares open: the pseudo-inverse takes the least ones.
    shares = torch.linalg.pinv(design) @ (rise_SB - last_S1 * gain_B)
    return torch.cat([shares, (gain_B - shares.sum(0))[None]]).T


def _coalitions(count: int, *, samples: int, seed: int) -> Tensor:
    """Coalitions drawn by the Shapley kernel, each with its complement, ``[S, P]``."""
    rng = torch_rng(seed, "shap", "kernel")
    weights = torch.tensor([1 / (size * (count - size)) for size in range(1, count)])
    sizes = torch.multinomial(weights, samples, replacement=True, generator=rng) + 1
    drawn = torch.zeros(samples, count, dtype=torch.bool)
    for row, size in zip(drawn, sizes.tolist(), strict=True):
        row[torch.randperm(count, generator=rng)[:size]] = True
    return torch.cat([drawn, ~drawn])
