"""Which of a model's metrics a person is shown first, whatever its task measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_PER_CLASS = "_class_"
_MOST_CLASSES = 3
"""With more of them, what was measured of each class is left to the run's page."""
_FIRST = ("accuracy", "loss")


def headline(metrics: Mapping[str, float]) -> dict[str, float]:
    """All that was measured on the test split and the first two figures of validation data.

    Where nothing was tested, all that was measured on validation data. What was measured of each of many
    classes is left out.
    """
    tested, validated = of_split(metrics, "test"), of_split(metrics, "val")
    few = validated if not tested else {name: validated[name] for name in list(validated)[: len(_FIRST)]}
    return tested | few


def of_split(metrics: Mapping[str, float], split: str) -> dict[str, float]:
    """The metrics of a split: accuracy and loss first, the others as the task gave them."""
    names = [name for name in metrics if name.startswith(f"{split}_")]
    first = [f"{split}_{what}" for what in _FIRST if f"{split}_{what}" in metrics]
    others = [name for name in names if name not in first]
    return {name: metrics[name] for name in (*first, *_without_many_classes(others))}


def scores(metrics: Mapping[str, float], split: str) -> dict[str, float]:
    """What tells most of a split in two figures: its accuracy, or another metric, and its loss."""
    found, loss = of_split(metrics, split), f"{split}_loss"
    score = next((name for name in found if name != loss), None)
    return {name: found[name] for name in (score, loss) if name in found}


def _without_many_classes(names: Sequence[str]) -> list[str]:
    counts: dict[str, int] = {}
    for name in names:
        counts[_kind(name)] = counts.get(_kind(name), 0) + 1
    return [name for name in names if _PER_CLASS not in name or counts[_kind(name)] <= _MOST_CLASSES]


def _kind(name: str) -> str:
    return name.partition(_PER_CLASS)[0]
