"""Augmentation of texts: ids of tokens are hidden or change places, in each text on its own.

What fills up, id 0, is left alone. All draws come from the generator, on the CPU, so a GPU gets the same.

Source:
    Wei and Zou, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification
    Tasks", 2019 (swap); Iyyer et al., "Deep Unordered Composition Rivals Syntactic Methods for Text
    Classification", 2015 (word dropout).
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from nnray.data.batches import Augmentation
from nnray.data.splits import DataInfo
from nnray.data.tokens import PADDING, UNKNOWN
from nnray.errors import DataError
from nnray.fields import Fraction


def word_dropout(info: DataInfo, *, p: Fraction = 0.1) -> Augmentation:
    """Replace tokens by the unknown one.

    Args:
        p: Chance of each token.
    """
    _require_class_of_tokens(info, "word_dropout")

    def apply(inputs: Tensor, targets: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
        hidden = (torch.rand(inputs.shape, generator=rng) < p).to(inputs.device)
        return inputs.masked_fill(hidden & (inputs != PADDING), UNKNOWN), targets

    return apply


def word_swap(info: DataInfo, *, p: Fraction = 0.1) -> Augmentation:
    """Let neighbouring tokens change places.

    Args:
        p: Chance of each pair; a text's tokens are paired from the first on, or from the second on.
    """
    _require_class_of_tokens(info, "word_swap")

    def apply(inputs: Tensor, targets: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
        return _swapped(inputs, p, rng), targets

    return apply


def _swapped(ids_BT: Tensor, p: float, rng: Generator) -> Tensor:
    count, length = ids_BT.shape
    begins_B1 = torch.randint(2, (count, 1), generator=rng)
    left_BT = (torch.arange(length) - begins_B1) % 2 == 0
    chosen_BT = (left_BT & (torch.rand(count, length, generator=rng) < p)).to(ids_BT.device)
    # Both of a pair are tokens, and inside the text.
    chosen_BT[:, :-1] &= (ids_BT[:, :-1] != PADDING) & (ids_BT[:, 1:] != PADDING)
    chosen_BT[:, -1] = False
    right_BT = chosen_BT.roll(1, 1)
    places_T = torch.arange(length, device=ids_BT.device)
    return ids_BT.gather(1, places_T + chosen_BT.long() - right_BT.long())


def _require_class_of_tokens(info: DataInfo, name: str) -> None:
    if not info.vocabulary:
        shape = list(info.input_shape)
        raise DataError(
            f"data.augment: {name}: needs tokens of texts, {info.name} has examples of shape {shape}; "
            "remove it"
        )
    if info.targets != "class":
        raise DataError(
            f"data.augment: {name}: needs a class for each text, {info.name} asks for {info.targets} of its "
            "tokens, which would no longer be true; remove it"
        )
