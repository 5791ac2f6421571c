"""What a model takes, and whether a request's values are that: shape, type and range, by example.

Lists are flattened one level at a time, so that a check costs no Python for each value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnray.data.splits import DataInfo
from nnray.data.table_columns import Encoder, encoder_from_json, is_of_table
from nnray.data.tokens import Tokenizer, from_json
from nnray.runners.serving.cells import Cells, encoded
from nnray.runners.serving.refusal import Refusal, bad_request, kind

_SLACK = 1e-4
"""By which pixels may leave 0 to 1, as in data sets."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives.

    Args:
        shape: Of an example: ``(C, H, W)`` for images with pixels from 0 to 1, ``(F,)`` for vectors.
        classes: Their names, by label.
        missing: Whether values may be missing: null, or NaN.
        most: Examples of a request.
        columns: Names of a vector's values, in their order; empty where they are not known.
        tokens: How many ids of tokens there are, for a model of texts; 0 for numbers.
        tokenizer: Makes ids of texts; None where the model doesn't know how.
        encoder: Makes inputs of the cells of a table; None where the model takes numbers as they are.
    """

    shape: tuple[int, ...]
    classes: tuple[str, ...]
    missing: bool = False
    most: int = 10_000
    columns: tuple[str, ...] = ()
    tokens: int = 0
    tokenizer: Tokenizer | None = None
    encoder: Encoder | None = None

    @classmethod
    def of(cls, info: DataInfo, *, most: int = 10_000, columns: tuple[str, ...] = ()) -> Signature:
        """The signature of a model of these data."""
        tokenizer = from_json(info.encoder) if info.vocabulary and info.encoder else None
        encoder = encoder_from_json(info.encoder) if is_of_table(info.encoder) else None
        columns = columns if encoder is None else encoder.names
        return cls(
            info.input_shape,
            info.classes,
            info.missing,
            most,
            columns,
            info.vocabulary,
            tokenizer,
            encoder,
        )

    def tensor(self, examples: Any) -> Tensor:
        """The examples of a request, checked.

        Args:
            examples: Lists of lists of numbers, as JSON has them; of a model of texts also a list of texts;
                of a table also its `Cells`.

        Returns:
            ``[B, *shape]`` float32, or int64 of tokens.

        Raises:
            Refusal: They are not what the model takes; says which and why.
        """
        if isinstance(examples, Cells):
            self._check_count(examples.rows)
            assert self.encoder is not None, "cells are read for models that bring an encoder"
            return encoded(examples, self.encoder, missing=self.missing)
        self._check_count(examples)
        if self.tokenizer is not None and str in map(type, examples):
            return self.tokenizer.encode(_texts(examples))
        flat = self._flatten(examples)
        self._check_types(flat)
        inputs = torch.from_numpy(_floats(flat)).reshape(len(examples), *self.shape)
        self._check_values(inputs)
        return inputs.long() if self.tokens else inputs

    def _check_count(self, examples: Any) -> None:
        if not isinstance(examples, list):
            like = "texts" if self.tokenizer is not None else f"examples of shape {list(self.shape)}"
            raise bad_request(f"expected a list of {like}, got {kind(examples)}")
        if not examples:
            raise bad_request("there is no example in the request; send at least one")
        if len(examples) > self.most:
            sentence = f"{len(examples)} examples in one request; at most {self.most} are taken: send several"
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, sentence)

    def _flatten(self, examples: list[Any]) -> list[Any]:
        flat, before = examples, 1
        for size in self.shape:
            if set(map(type, flat)) != {list} or set(map(len, flat)) != {size}:
                wrong = next(i for i, v in enumerate(flat) if type(v) is not list or len(v) != size)
                raise self._wrong_shape(examples, wrong // before)
            flat, before = list(chain.from_iterable(flat)), before * size
        return flat

    def _wrong_shape(self, examples: list[Any], index: int) -> Refusal:
        return bad_request(
            f"example {index} has shape {_shape(examples[index])}; expected {list(self.shape)}, "
            f"so a request of B examples has shape [B, {', '.join(map(str, self.shape))}]"
        )

    def _check_types(self, flat: list[Any]) -> None:
        allowed = {int, float, type(None)} if self.missing else {int, float}
        if set(map(type, flat)) <= allowed:
            return
        index = next(i for i, value in enumerate(flat) if type(value) not in allowed)
        example, expected = index // math.prod(self.shape), "numbers, or null where missing"
        expected = expected if self.missing else "numbers"
        raise bad_request(f"example {example} holds {kind(flat[index])}; expected {expected}")

    def _check_values(self, inputs: Tensor) -> None:
        by_example = inputs.flatten(1)
        allowed = torch.isfinite(by_example)
        if self.missing:
            allowed |= torch.isnan(by_example)
        if found := _first(by_example, ~allowed):
            raise bad_request(f"example {found[0]} holds {found[1]}; every value must be a finite number")
        if self.tokens:
            self._check_ids(by_example)
        if len(self.shape) != 3:  # only images have pixels
            return
        if found := _first(by_example, (by_example < -_SLACK) | (by_example > 1 + _SLACK)):
            sentence = (
                f"example {found[0]} holds the pixel {found[1]:g}; pixels go from 0 to 1: divide by 255"
            )
            raise bad_request(sentence)

    def _check_ids(self, inputs: Tensor) -> None:
        wrong = (inputs != inputs.floor()) | (inputs < 0) | (inputs >= self.tokens)
        if found := _first(inputs, wrong):
            sentence = f"example {found[0]} holds the token {found[1]:g}; ids go from 0 to {self.tokens - 1}"
            raise bad_request(f"{sentence}: send texts" if self.tokenizer is not None else sentence)


def _texts(examples: list[Any]) -> list[str]:
    wrong = next((i for i, value in enumerate(examples) if type(value) is not str), None)
    if wrong is not None:
        raise bad_request(f"example {wrong} is {kind(examples[wrong])}; expected a text, as others are")
    return examples


def _first(values: Tensor, wrong: Tensor) -> tuple[int, float] | None:
    """The first example that holds a wrong value, and that value."""
    if not bool(wrong.any()):
        return None
    example = int(wrong.any(1).int().argmax())
    return example, float(values[example][wrong[example]][0])


def _floats(flat: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """As float32; null becomes NaN, what is too large infinite."""
    try:
        wide = np.array(flat, dtype=np.float64)
    except OverflowError:  # an integer above 1e308
        wide = np.array([_limited(value) for value in flat], dtype=np.float64)
    with np.errstate(over="ignore"):
        return wide.astype(np.float32)


def _limited(value: Any) -> Any:
    """Infinite, if it is an integer that no float can hold."""
    is_huge = isinstance(value, int) and value.bit_length() > 1000
    return (math.inf if value > 0 else -math.inf) if is_huge else value


def _shape(value: Any) -> list[int]:
    """The shape of nested lists, by their first elements."""
    sizes = []
    while isinstance(value, list):
        sizes.append(len(value))
        value = value[0] if value else None
    return sizes
