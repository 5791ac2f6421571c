"""What values examples may have: each kind of input and of target checked once, with one clear message."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from nnray.data.splits import NO_CLASS, DataInfo
from nnray.errors import DataError

_BLOCK = 8192
_SLACK = 1e-4


def blocks(inputs: Tensor) -> Iterator[Tensor]:
    """The examples, a few thousand at a time."""
    return iter(torch.split(inputs, _BLOCK))


def checked_inputs(inputs: Tensor, where: str, *, known: DataInfo) -> Tensor:
    """Inputs in the form in which they are kept.

    Args:
        inputs: As a data set gave them.
        where: For messages.
        known: What the data set has declared.

    Raises:
        DataError: A shape or values that inputs of their kind can't have.
    """
    if inputs.ndim not in (2, 3, 4) or not inputs[0].numel():
        raise DataError(
            f"{where}: x has shape {tuple(inputs.shape)}; expected images [N, C, H, W], series [N, C, T] or "
            "vectors [N, F]"
        )
    if known.vocabulary:
        return _tokens(inputs, where, vocabulary=known.vocabulary)
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
    if known.missing and not image:
        _check_missing(inputs, where=where)
    else:
        _check_floats(inputs, where=where, image=image)
    if known.categories:
        _check_categories(inputs, where, categories=known.categories)
    return inputs


def _tokens(inputs: Tensor, where: str, *, vocabulary: int) -> Tensor:
    if inputs.ndim != 2 or inputs.is_floating_point() or inputs.is_complex():
        raise DataError(
            f"{where}: x is {inputs.dtype} of shape {tuple(inputs.shape)}; expected ids of tokens, whole "
            "numbers [N, T]"
        )
    low, high = (int(v) for v in torch.aminmax(inputs))
    if low < 0 or high >= vocabulary:
        raise DataError(f"{where}: ids of tokens go from {low} to {high}; allowed: 0 to {vocabulary - 1}")
    return inputs.to(torch.int64).contiguous()


def _check_categories(inputs: Tensor, where: str, *, categories: tuple[int, ...]) -> None:
    if inputs.ndim != 2 or len(categories) != inputs.shape[1]:
        raise DataError(
            f"{where}: {len(categories)} numbers of categories for x of shape {tuple(inputs.shape)}; "
            "expected one for each feature, 0 for a quantity"
        )
    for feature, count in enumerate(categories):
        codes = inputs[:, feature]
        codes = codes[~codes.isnan()]
        if (
            count
            and len(codes)
            and not bool(((codes >= 0) & (codes < count) & (codes == codes.floor())).all())
        ):
            low, high = (float(v) for v in torch.aminmax(codes))
            raise DataError(
                f"{where}: feature {feature} goes from {low:g} to {high:g}; allowed: whole numbers from 0 to "
                f"{count - 1}, for {count} categories"
            )


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


def checked_targets(targets: Tensor, where: str, *, known: DataInfo) -> Tensor:
    """Targets in the form in which they are kept.

    Args:
        targets: As a data set gave them.
        where: For messages.
        known: What the data set has declared.

    Raises:
        DataError: A shape or values that targets of their kind can't have.
    """
    if known.targets == "class":
        return _labels(targets, where)
    if known.targets == "classes":
        return _places(targets, where)
    values = targets.to(torch.float32).contiguous()
    if not bool(torch.isfinite(values).all()):
        raise DataError(f"{where}: y holds values that are not finite numbers")
    if known.targets == "boxes" and (values.ndim != 3 or values.shape[2] != 5):
        raise DataError(
            f"{where}: y has shape {tuple(values.shape)}; expected boxes [N, M, 5]: class, x1, y1, x2, y2"
        )
    return values


def classes_in(targets: Tensor, info: DataInfo) -> Tensor:
    """All classes that count among targets, as one row."""
    if info.targets == "boxes":
        found = targets[..., 0].flatten()
        return found[found != -1].long()
    return targets[targets != NO_CLASS] if info.targets == "classes" else targets


def _places(targets: Tensor, where: str) -> Tensor:
    if targets.ndim < 2 or targets.is_floating_point() or targets.is_complex():
        raise DataError(
            f"{where}: y is {targets.dtype} of shape {tuple(targets.shape)}; expected a label for each place "
            f"of each example, whole numbers [N, ...], {NO_CLASS} where none counts"
        )
    return targets.to(torch.int64).contiguous()


def _labels(targets: Tensor, where: str) -> Tensor:
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
