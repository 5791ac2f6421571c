"""What each class weighs in the training loss: as given, or by how rare it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from nnray.errors import ConfigError, Problem

if TYPE_CHECKING:
    from nnray.data.splits import DataInfo


def weights_of(asked: Sequence[float] | Literal["balanced"], info: DataInfo) -> tuple[float, ...]:
    """The weight of each class, by label.

    Args:
        asked: The weights, or balanced.
        info: Of the data.

    Raises:
        ConfigError: Another number of weights than of classes, or nobody knows how many examples each has.
    """
    if asked != "balanced":
        if len(asked) != info.num_classes:
            found = f"got {len(asked)} weights for {info.num_classes} classes"
            raise _refused(f"{found}: give one for each class")
        return tuple(map(float, asked))
    if not info.class_counts:
        raise _refused(
            "balanced needs the number of training examples of each class, which is not known of data set "
            f"{info.name}: sites and private training don't tell it; give a weight for each class"
        )
    return balanced(info.class_counts)


def balanced(counts: Sequence[int]) -> tuple[float, ...]:
    """Weights by which all classes weigh as much together, and examples 1 on average.

    A class without examples weighs 1: smoothed labels and mixed examples weigh it, too, and by its rarity
    it would rule them.

    Args:
        counts: Examples of each class, by label; one example at least.

    Source:
        King and Zeng, Logistic Regression in Rare Events Data, 2001, section 4.2, for any number of classes.
    """
    present = sum(count > 0 for count in counts)
    return tuple(sum(counts) / (present * count) if count else 1.0 for count in counts)


def _refused(message: str) -> ConfigError:
    return ConfigError("experiment", [Problem("task.class_weights", message)])
