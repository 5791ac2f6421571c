"""Classes that are too small to be learnt or measured, or much smaller than others: told, never mended.

What to do about them is the user's choice, and most of what can be done changes the result.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from torch import Tensor

_UNEVEN = 20
"""How many times as large the largest class is, before it is told."""
_NAMED = 10
_log = logging.getLogger("nnray.data")


def tell(train: Tensor, val: Tensor | None, *, classes: Sequence[str], name: str) -> None:
    """Log what is odd about the sizes of classes.

    Args:
        train: Classes of the examples that are learnt from.
        val: Of those that are held out; None for none.
        classes: Names of all.
        name: The data set.
    """
    for problem in oddities(train, val, classes=classes):
        _log.warning("data set %s: %s", name, problem)


def oddities(train: Tensor, val: Tensor | None, *, classes: Sequence[str]) -> list[str]:
    """What is odd about the sizes of classes, a sentence each.

    Args:
        train: Classes of the examples that are learnt from.
        val: Of those that are held out; None for none.
        classes: Names of all.
    """
    learnt = train.bincount(minlength=len(classes)).tolist()
    held = [1] * len(classes) if val is None else val.bincount(minlength=len(classes)).tolist()
    found = []
    if absent := [classes[label] for label, count in enumerate(learnt) if not count]:
        found.append(f"no training example of {_named(absent)}: it can't be learnt; add some")
    unseen = [f"{classes[at]} ({n} to learn from)" for at, n in enumerate(learnt) if n and not held[at]]
    if unseen:
        advice = "add examples, raise data.validation, or leave the class out"
        found.append(f"no validation example of {_named(unseen)}: metrics don't see it; {advice}")
    least, most = (bound(range(len(classes)), key=lambda label: learnt[label]) for bound in (min, max))
    if learnt[least] and learnt[most] >= _UNEVEN * learnt[least]:
        found.append(
            f"classes are uneven: {learnt[most]} training examples of {classes[most]}, {learnt[least]} of "
            f"{classes[least]}; accuracy hides small classes: look at f1_macro, or set "
            "task.class_weights, such as balanced"
        )
    return found


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
