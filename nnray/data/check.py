"""What a data set may hand in, and what it must be: every example checked once, with one clear message.

Pixels stay bytes; whatever else is numbers becomes float32. Blocks keep the memory small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from nnray.data.groups import GroupReader, numbered_groups
from nnray.data.splits import DataInfo, DataSplits, Examples
from nnray.errors import DataError, UserCodeError

_BLOCK = 8192
_SLACK = 1e-4
_EXPECTED = (
    'a nnray.data.splits.DataSplits, or {"train": (x, y)} with "val", "test" and "classes" as needed '
    '("test" may be a function that returns (x, y)), "groups" (who each training example came from), and '
    '"missing": True if NaN stands for a missing value'
)
_KEYS = ("train", "val", "test", "classes", "groups", "missing")


def blocks(inputs: Tensor) -> Iterator[Tensor]:
    """The examples, a few thousand at a time."""
    return iter(torch.split(inputs, _BLOCK))


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
        parts |= {"groups": result.groups, "missing": getattr(result.info, "missing", False)}
        classes: Any = getattr(result.info, "classes", None)
    else:
        parts = _mapping(result, name)
        classes = parts.pop("classes", None)
    missing = parts.get("missing", False) is True
    train = as_examples(parts["train"], where=f"{name}: train", missing=missing)
    val = parts.get("val")
    val = None if val is None else as_examples(val, where=f"{name}: val", missing=missing)
    named = _classes(classes, train, name=name)
    info = DataInfo(name, tuple(train.inputs.shape[1:]), named, missing=missing)
    check_fit(train, info, where=f"{name}: train")
    if val is not None:
        check_fit(val, info, where=f"{name}: val")
    test, groups = parts.get("test"), _groups(parts.get("groups"), train, name=name)
    return DataSplits(train, val, None if test is None else partial(_test, test, info), info, groups)


def as_examples(pair: Any, *, where: str, missing: bool = False) -> Examples:
    """Make examples of a pair of tensors, arrays or sequences.

    Args:
        pair: Examples, or (x, y).
        where: For messages.
        missing: Whether values of vectors may be missing, which are NaN.

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
    return Examples(_inputs(inputs, where, missing=missing), _targets(targets, where))


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
    low, high = (int(v) for v in torch.aminmax(examples.targets))
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
    examples = as_examples(pair, where=where, missing=info.missing)
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


def _inputs(inputs: Tensor, where: str, *, missing: bool) -> Tensor:
    if inputs.ndim not in (2, 4) or not inputs[0].numel():
        raise DataError(
            f"{where}: x has shape {tuple(inputs.shape)}; expected images [N, C, H, W] or vectors [N, F]"
        )
    if inputs.is_complex():
        raise DataError(f"{where}: x is {inputs.dtype}; expected real numbers")
    image = inputs.ndim == 4
    if image and not inputs.is_floating_point() and inputs.dtype not in (torch.uint8, torch.bool):
        low, high = (int(v) for v in torch.aminmax(inputs))
        if low < 0 or high > 255:
            raise DataError(f"{where}: whole-number pixels go from {low} to {high}; allowed: 0 to 255")
        return inputs.to(torch.uint8).contiguous()
    if image and inputs.dtype == torch.uint8:
        return inputs.contiguous()
    inputs = inputs.to(torch.float32).contiguous()
    if missing and not image:
        _check_missing(inputs, where=where)
    else:
        _check_floats(inputs, where=where, image=image)
    return inputs


def _check_floats(inputs: Tensor, *, where: str, image: bool) -> None:
    bad = [index for index, block in enumerate(blocks(inputs)) if not bool(torch.isfinite(block).all())]
    if bad:
        block = inputs[bad[0] * _BLOCK : (bad[0] + 1) * _BLOCK].flatten(1)
        first = bad[0] * _BLOCK + int((~torch.isfinite(block)).any(1).int().argmax())
        value = inputs[first][~torch.isfinite(inputs[first])][0]
        raise DataError(f"{where}: example {first} holds {float(value)}; every value must be a finite number")
    low, high = (float(v) for v in torch.aminmax(inputs))
    if image and (low < -_SLACK or high > 1 + _SLACK):
        raise DataError(
            f"{where}: pixels go from {low:g} to {high:g}; allowed: 0 to 1 as floats, or 0 to 255 as uint8 "
            "(don't normalise: nnray does, by data.normalize)"
        )


def _check_missing(inputs: Tensor, *, where: str) -> None:
    for number, block in enumerate(blocks(inputs)):
        if bool(torch.isinf(block).any()):
            first = number * _BLOCK + int(torch.isinf(block).any(1).int().argmax())
            raise DataError(
                f"{where}: example {first} is infinite; allowed: finite numbers, NaN where missing"
            )


def _groups(groups: Any, train: Examples, *, name: str) -> GroupReader | None:
    if groups is None or callable(groups):
        return cast(GroupReader | None, groups)
    told = numbered_groups(groups)
    if len(told.of) != len(train):
        raise DataError(
            f"{name}: {len(told.of)} groups for {len(train)} training examples; expected one for each"
        )
    return lambda: told


def _targets(targets: Tensor, where: str) -> Tensor:
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.ndim != 1:
        raise DataError(
            f"{where}: y has shape {tuple(targets.shape)}; expected a label for each example, [N]"
        )
    if not targets.is_complex() and bool(torch.isfinite(targets).all()):
        labels = targets.long()
        if bool((labels == targets).all()):
            return labels
    raise DataError(f"{where}: y has labels that are not whole numbers; expected 0 to K - 1")


def _classes(classes: Any, train: Examples, *, name: str) -> tuple[str, ...]:
    if not (classes is None or isinstance(classes, list | tuple | np.ndarray)):
        raise DataError(f"{name}: classes is {_kind(classes)}; expected a list of names, by label")
    if classes is None or len(classes) == 0:
        count = int(train.targets.max()) + 1
        if count > max(len(train), 2):
            raise DataError(
                f"{name}: labels go up to {count - 1}, but there are {len(train)} examples; "
                "number the classes from 0 to K - 1, or say their names in classes"
            )
        classes = range(count)
    named = tuple(str(label) for label in classes)
    if len(named) < 2 or len(set(named)) < len(named):
        raise DataError(f"{name}: classes are {list(named)[:20]}; expected at least two, all different")
    return named
