"""Which kinds of models and inputs a verb can deal with: others are refused before anything takes time."""

from __future__ import annotations

from nnray.data.splits import DataInfo
from nnray.errors import DataError

_ANSWERS = {"classes": "a class for each place", "numbers": "numbers", "boxes": "boxes"}


def require_classes(info: DataInfo, verb: str) -> None:
    """Refuse a model that answers with something else than one class for each example.

    Raises:
        DataError: It does; which verbs there are for it is said.
    """
    if info.targets != "class":
        raise DataError(
            f"{verb} is for models that tell one class for each example; one of data set {info.name} answers "
            f"with {_ANSWERS[info.targets]}: nnray evaluate and nnray report take any model"
        )


def require_quantities(info: DataInfo, verb: str, *, instead: str) -> None:
    """Refuse inputs that are ids of tokens: they can't be moved a little.

    Raises:
        DataError: They are.
    """
    if info.vocabulary:
        raise DataError(
            f"{verb} moves inputs a little, and those of data set {info.name} are tokens, of which "
            f"there is no half: {instead}"
        )
