"""Constraints on a trial: one comparison of expressions over its metrics, read without running code.

An expression is parsed by ``ast`` and walked; it holds numbers, metrics, ``+ - * / **``, and
``abs``, ``min`` and ``max``. All is computed in floats, so that no text of a file takes long.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from pydantic_core import PydanticCustomError

from nnray.config.components import failure
from nnray.registry import shown

_LONGEST = 500
_EXAMPLE = "such as parameters <= 50000"
_TWO: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_FUNCTIONS: Mapping[str, Callable[..., float]] = {"abs": abs, "min": min, "max": max}
_COMPARISONS: Mapping[type[ast.cmpop], tuple[int, bool]] = {
    ast.LtE: (1, True),
    ast.Lt: (1, False),
    ast.GtE: (-1, True),
    ast.Gt: (-1, False),
}
"""Which way a comparison goes, and whether it holds between equals."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """What a trial's metrics must fulfil.

    Args:
        text: As it stands in the file.
        names: The metrics in it.
    """

    text: str
    names: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Read a constraint.

        Raises:
            PydanticCustomError: It is none; a section of the experiment tells it as its own.
        """
        comparison = _parsed(text)
        names: set[str] = set()
        for side in (comparison.left, *comparison.comparators):
            _check(side, text, names)
        if not names:
            raise _wrong(text, "it names no metric")
        return cls(text, frozenset(names))

    def violation(self, metrics: Mapping[str, float]) -> float:
        """By how much the constraint is broken: above 0 where it is, at most 0 where it holds.

        Args:
            metrics: By name; a NaN breaks the constraint by infinity.

        Raises:
            KeyError: A metric of the constraint is missing.
        """
        comparison = _parsed(self.text)
        sign, holds_between_equals = _COMPARISONS[type(comparison.ops[0])]
        left, right = (_value(side, metrics) for side in (comparison.left, comparison.comparators[0]))
        if math.isnan(left) or math.isnan(right):
            return math.inf
        if left == right:
            return 0.0 if holds_between_equals else math.ulp(0.0)
        return sign * (left - right)


@lru_cache(maxsize=1024)
def _parsed(text: str) -> ast.Compare:
    if len(text) > _LONGEST:
        raise _wrong(text, f"it is longer than {_LONGEST} characters")
    try:
        found = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _wrong(text, "it can't be read") from None
    if not isinstance(found, ast.Compare):
        raise _wrong(text, "it compares nothing")
    if len(found.ops) > 1:
        raise _wrong(text, "it holds two comparisons: write two constraints")
    if type(found.ops[0]) not in _COMPARISONS:
        raise _wrong(text, "only <, <=, > and >= are known")
    return found


def _check(node: ast.expr, text: str, names: set[str]) -> None:
    """Refuse what isn't known, and collect the metrics."""
    match node:
        case ast.Constant(value=bool()):
            raise _wrong(text, f"{ast.unparse(node)} is not known")
        case ast.Constant(value=int() | float()):
            return
        case ast.Name(id=name):
            names.add(name)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=inner):
            _check(inner, text, names)
        case ast.BinOp(op=op, left=left, right=right) if type(op) in _TWO:
            _check(left, text, names)
            _check(right, text, names)
        case ast.Call(func=ast.Name(id=function), args=args, keywords=[]) if function in _FUNCTIONS:
            _check_call(function, args, text)
            for argument in args:
                _check(argument, text, names)
        case _:
            raise _wrong(text, f"{shown(ast.unparse(node))} is not known")


def _check_call(function: str, args: Sequence[ast.expr], text: str) -> None:
    if (function == "abs") != (len(args) == 1) or not args:
        takes = "one value" if function == "abs" else "two values or more"
        raise _wrong(text, f"{function} takes {takes}")


def _value(node: ast.expr, metrics: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return _computed(float, number)
        case ast.Name(id=name):
            return float(metrics[name])
        case ast.UnaryOp(op=op, operand=inner):
            value = _value(inner, metrics)
            return -value if isinstance(op, ast.USub) else value
        case ast.BinOp(op=op, left=left, right=right):
            return _computed(_TWO[type(op)], _value(left, metrics), _value(right, metrics))
        case ast.Call(func=ast.Name(id=function), args=args):
            values = [_value(argument, metrics) for argument in args]
            return math.nan if any(map(math.isnan, values)) else _FUNCTIONS[function](*values)
    raise AssertionError(ast.dump(node))


def _computed(function: Callable[..., float], *values: float) -> float:
    """The result; NaN where there is no real number."""
    try:
        result = function(*values)
    except OverflowError:
        return math.inf
    except (ZeroDivisionError, ValueError):
        return math.nan
    return math.nan if isinstance(result, complex) else float(result)


def _wrong(text: str, why: str) -> PydanticCustomError:
    allowed = "numbers, metrics, + - * / **, abs, min and max"
    return failure(f"must be one comparison, {_EXAMPLE}, of {allowed} (got {shown(text)}: {why})")
