"""Which kinds of models and inputs a verb can deal with: others are refused before anything takes time."""

from __future__ import annotations

from nnray.data.splits import DataInfo
from nnray.errors import DataError
from nnray.tasks.task import Task

_ANSWERS = {
    "class": "something else",
    "classes": "a class for each place",
    "numbers": "numbers",
    "boxes": "boxes",
}


def scores_classes(info: DataInfo, task: Task) -> bool:
    """Whether a model's outputs are scores of classes, of an example or of each of its places."""
    return info.targets in ("class", "classes") and getattr(task, "output_shape", None) is None


def tells_classes(info: DataInfo, task: Task) -> bool:
    """Whether a model's outputs are scores of the classes of which each example has one."""
    return info.targets == "class" and scores_classes(info, task)


def require_classes(info: DataInfo, task: Task, *, verb: str, instead: str = "") -> None:
    """Refuse a model that answers with something else than one class for each example.

    Args:
        info: Of its data.
        task: It was trained for.
        verb: That is for classes.
        instead: What to do; empty to name verbs that take any model.

    Raises:
        DataError: It does; what there is for it is said.
    """
    if tells_classes(info, task):
        return
    answers = _ANSWERS[info.targets]
    raise DataError(
        f"{verb} is for models that tell one class for each example; one of data set {info.name} answers "
        f"with {answers}: {instead or 'nnray evaluate and nnray report take any model'}"
    )


def require_quantities(info: DataInfo, verb: str, *, instead: str) -> None:
    """Refuse inputs that stand for tokens or categories: they can't be moved a little.

    Raises:
        DataError: They do.
    """
    named = [feature for feature, codes in zip(info.features, info.categories, strict=False) if codes]
    if info.vocabulary:
        which = f"those of data set {info.name} are tokens"
    elif any(info.categories):
        which = f"{named[0] if named else 'a column'} of data set {info.name} names a category"
    else:
        return
    raise DataError(f"{verb} moves inputs a little, and {which}, of which there is no half: {instead}")
