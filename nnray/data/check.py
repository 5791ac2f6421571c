"""What a data set may hand in, and what it must be: every example checked once, with one clear message.

Pixels stay bytes; whatever else is numbers becomes float32. Blocks keep the memory small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast, get_args

import numpy as np
import torch
from torch import Tensor

from nnray.data.check_values import checked_inputs, checked_targets, classes_in
from nnray.data.groups import GroupReader, numbered_groups
from nnray.data.splits import DataInfo, DataSplits, Examples, TargetKind
from nnray.errors import DataError, UserCodeError

_EXPECTED = (
    'a nnray.data.splits.DataSplits, or {"train": (x, y)} with "val", "test" and "classes" as needed '
    '("test" may be a function that returns (x, y)), "groups" (who each training example came from), and '
    '"missing": True if NaN stands for a missing value'
)
_ROWS = ("categories", "features", "target_names", "target_rates")
_DECLARED = ("missing", "vocabulary", *_ROWS, "targets", "encoder", "overlap")
"""What only the data set can know of its examples."""
_KEYS = ("train", "val", "test", "classes", "groups", *_DECLARED)


def as_splits(result: Any, *, name: str) -> DataSplits:
    """Check what a data set function returned, and make splits of it; test stays unread.

    Args:
        result: Splits, a mapping of (x, y) pairs, or one pair to learn from.
        name: The data set, for messages.

    Raises:
        DataError: Values that can't be learnt from.
        UserCodeError: It is something else.
    """
    if isinstance(result, DataSplits):
        parts: dict[str, Any] = {"train": result.train, "val": result.val, "test": result.test}
        parts |= {"groups": result.groups}
        parts |= {key: getattr(result.info, key) for key in _DECLARED if hasattr(result.info, key)}
        classes: Any = getattr(result.info, "classes", None)
    else:
        parts = _mapping(result, name)
        classes = parts.pop("classes", None)
    known = _declared(parts, name=name)
    train = as_examples(parts["train"], where=f"{name}: train", known=known)
    val = parts.get("val")
    val = None if val is None else as_examples(val, where=f"{name}: val", known=known)
    has_classes = known.targets != "numbers"
    info = replace(
        known,
        input_shape=tuple(train.inputs.shape[1:]),
        classes=_classes(classes, train, info=known) if has_classes else (),
        target_shape=tuple(train.targets.shape[1:]),
    )
    check_fit(train, info, where=f"{name}: train")
    if val is not None:
        check_fit(val, info, where=f"{name}: val")
    test, groups = parts.get("test"), _groups(parts.get("groups"), train, name=name)
    refit = result.refit if isinstance(result, DataSplits) else None
    return DataSplits(train, val, None if test is None else partial(_test, test, info), info, groups, refit)


def as_examples(pair: Any, *, where: str, known: DataInfo | None = None) -> Examples:
    """Make examples of a pair of tensors, arrays or sequences.

    Args:
        pair: Examples, or (x, y).
        where: For messages.
        known: What the data set has declared; None for pixels or complete vectors, and a class for each.

    Raises:
        DataError: Not such a pair, empty, not finite, or of a wrong shape or type.
    """
    if isinstance(pair, Examples):
        pair = (pair.inputs, pair.targets)
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise DataError(f"{where}: is {_kind(pair)}; expected a pair (x, y)")
    inputs, targets = (_tensor(v, where=f"{where}: {key}") for key, v in zip("xy", pair, strict=True))
    if not len(inputs) == len(targets) > 0:
        problem = "is empty" if len(inputs) == len(targets) else f"has {len(inputs)} x, but {len(targets)} y"
        raise DataError(f"{where}: {problem}; expected as many examples as labels, at least one")
    known = known or DataInfo("", (), ())
    return Examples(checked_inputs(inputs, where, known=known), checked_targets(targets, where, known=known))


def check_fit(examples: Examples, info: DataInfo, *, where: str) -> None:
    """Check a split against the training split.

    Args:
        examples: The split.
        info: Shape and classes.
        where: For messages.

    Raises:
        DataError: Another shape, or a label that is no class.
    """
    shape = tuple(examples.inputs.shape[1:])
    if shape != info.input_shape:
        raise DataError(f"{where}: examples of shape {shape}; expected {info.input_shape}, as in train")
    if tuple(examples.targets.shape[1:]) != info.target_shape:
        shape = tuple(examples.targets.shape[1:])
        raise DataError(f"{where}: targets of shape {shape}; expected {info.target_shape}, as in train")
    if info.targets != "numbers":
        _check_labels(classes_in(examples.targets, info), info, where=where)


def _declared(parts: Mapping[str, Any], *, name: str) -> DataInfo:
    """What a data set says of its examples, which can't be read off them."""
    given = {key: parts[key] for key in _DECLARED if parts.get(key) is not None}
    kinds = get_args(TargetKind)
    if given.get("targets", "class") not in kinds:
        raise UserCodeError(name, f"returned targets {given['targets']!r}; allowed: {', '.join(kinds)}")
    for key in _ROWS:
        given[key] = tuple(given.get(key, ()))
    return DataInfo(name, (), (), **{**given, "missing": given.get("missing", False) is True})


def _check_labels(labels: Tensor, info: DataInfo, *, where: str) -> None:
    low, high = (int(v) for v in torch.aminmax(labels)) if len(labels) else (0, 0)
    if low < 0 or high >= info.num_classes:
        raise DataError(
            f"{where}: labels go from {low} to {high}; allowed: 0 to {info.num_classes - 1}, "
            f"for {info.num_classes} classes"
        )


def _mapping(result: Any, name: str) -> dict[str, Any]:
    if isinstance(result, tuple) and len(result) == 2:
        return {"train": result}
    if not isinstance(result, Mapping) or "train" not in result:
        raise UserCodeError(name, f"returned {_kind(result)}; expected {_EXPECTED}")
    if unknown := [key for key in result if key not in _KEYS]:
        raise UserCodeError(name, f"returned unknown keys {unknown}; allowed: {', '.join(_KEYS)}")
    return dict(result)


def _test(test: Any, info: DataInfo) -> Examples:
    where = f"{info.name}: test"
    try:
        pair = test() if callable(test) else test
    except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise UserCodeError(info.name, f"test() raised {type(error).__name__}: {error}") from error
    examples = as_examples(pair, where=where, known=info)
    check_fit(examples, info, where=where)
    return examples


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a mapping with the keys {sorted(map(str, value))}"
    length = f" of length {len(value)}" if isinstance(value, Sequence) else ""
    return type(value).__name__ + length


def _tensor(value: Any, *, where: str) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    try:
        array = np.asarray(value)
        # Copied if it is read-only, such as a memory-mapped file: torch has no read-only tensors.
        return torch.from_numpy(np.ascontiguousarray(array) if array.flags.writeable else array.copy())
    except (TypeError, ValueError) as error:
        problem = f"not an array of numbers ({error}); are the examples of one shape?"
        raise DataError(f"{where}: {problem}") from error


def _groups(groups: Any, train: Examples, *, name: str) -> GroupReader | None:
    if groups is None or callable(groups):
        return cast(GroupReader | None, groups)
    told = numbered_groups(groups)
    if len(told.of) != len(train):
        raise DataError(
            f"{name}: {len(told.of)} groups for {len(train)} training examples; expected one for each"
        )
    return lambda: told


def _classes(classes: Any, train: Examples, *, info: DataInfo) -> tuple[str, ...]:
    name = info.name
    if not (classes is None or isinstance(classes, list | tuple | np.ndarray)):
        raise DataError(f"{name}: classes is {_kind(classes)}; expected a list of names, by label")
    if classes is None or len(classes) == 0:
        labels = classes_in(train.targets, info)
        count = int(labels.max()) + 1 if len(labels) else 0
        if count > max(len(labels), 2):
            raise DataError(
                f"{name}: labels go up to {count - 1}, but there are {len(train)} examples; "
                "number the classes from 0 to K - 1, or say their names in classes"
            )
        classes = range(count)
    named = tuple(str(label) for label in classes)
    if len(named) < 2 or len(set(named)) < len(named):
        raise DataError(f"{name}: classes are {list(named)[:20]}; expected at least two, all different")
    return named
