"""Classes of examples, for what can do nothing without them."""

from __future__ import annotations

from nnray.data.splits import DataInfo
from nnray.errors import DataError


def require_classes(info: DataInfo, name: str) -> int:
    """How many classes examples have, two at least.

    Args:
        info: Of the data.
        name: Of the key that asks for classes, for messages.

    Raises:
        DataError: Each example has something else than a class of its own, or all have the same.
    """
    if info.targets != "class" or info.num_classes < 2:
        found = f"{info.num_classes} class" if info.targets == "class" else f"targets of kind {info.targets}"
        raise DataError(
            f"{name}: needs a class of each example, of 2 or more; {info.name} has {found}: set it false"
        )
    return info.num_classes
