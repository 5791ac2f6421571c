"""What a format's writer is given, and what it gives back; what tracers raise, as an error for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from nnray.assembly.described import About
from nnray.errors import IncompatibleModel, in_a_sentence
from nnray.tracking.quiet import traced_quietly

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be written.

    Args:
        module: In evaluation mode.
        example: Two inputs or more.
        about: What it takes to build the module again.
        facts: What a reader of the file should know: classes, shape, hash of the weights.
        opset: Version of ONNX's operators; None for the exporter's own choice.
    """

    module: nn.Module
    example: Tensor
    about: About
    facts: Mapping[str, Any]
    opset: int | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Args:
        files: The main one first.
        forward: Runs what stands in the files, and nothing else.
        opset: Version of ONNX's operators, in ONNX.
    """

    files: tuple[Path, ...]
    forward: Forward
    opset: int | None = None


Writer = Callable[[Order, Path], Written]
"""Writes a model into a folder."""


@contextmanager
def tracing(method: str) -> Iterator[None]:
    """Say in words, and in no others, what a tracer could not do; a full disk stays what it is.

    Raises:
        IncompatibleModel: Whatever else went wrong.
    """
    try:
        with traced_quietly():
            yield
    except OSError:
        raise
    except Exception as error:
        advice = "Export as safetensors, or give forward() no Python branches on values or on the batch size."
        raise IncompatibleModel(
            method, [f"{type(error).__name__}: {in_a_sentence(error)}"], advice
        ) from error
