"""A smaller model out of a trained one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from nnray.api.named import Opening, open_model, root_of
from nnray.errors import ConfigError, Problem

if TYPE_CHECKING:
    from nnray.runners.compression import Compression
    from nnray.runners.compression.chain import Plan
    from nnray.runners.results import Result


def compress(
    model: str | Path | Result,
    methods: str | Sequence[str | Mapping[str, Any]],
    *,
    epochs: int | None = None,
    lr: float | None = None,
    student: str | Sequence[str] = (),
    target: str | None = None,
    register: str | None = None,
    out: str | Path | None = None,
    **opening: Unpack[Opening],
) -> Compression:
    """Make a trained model smaller, by methods in order, and measure what that costs.

    Args:
        model: A trained model: what training gave, or any name that it has.
        methods: Such as ``channels:share=0.5``: ``magnitude``, ``channels``, ``low_rank``, ``distill`` and,
            as the last one, ``int8``; or functions of your own.
        epochs: To train after each method; None for none, but the experiment's own for a student.
        lr: To train with; None for a tenth of the experiment's, and all of it for a student.
        student: For ``distill``: overrides such as ``model.hidden=[32]``, or another experiment's file.
        target: Finds the strength of the method whose strength is left open: ``flops=0.5``, ``bytes=0.3``
            (after zlib) or ``latency=0.5`` of what it was, or ``accuracy=-0.005``, at most so much lost.
        register: Name to register the new model under.
        out: Folder for files; None for a new one below the run's.
        opening: ``root``, ``tracking``, ``trust`` and ``experiment``, as for every trained model.

    Raises:
        RunError: There is no such model.
        IncompatibleModel: A method can't handle it.
        ConfigError: A method, or the target, is wrong.
        DataError: Its data aren't there.
    """
    from nnray.runners import compression

    plan = _plan(methods, student, epochs=epochs, lr=lr, target=target, register=register)
    subject = open_model(model, **opening)
    return compression.compress(subject, plan, root=root_of(opening), out=None if out is None else Path(out))


def _plan(
    methods: str | Sequence[str | Mapping[str, Any]],
    student: str | Sequence[str],
    *,
    epochs: int | None,
    lr: float | None,
    target: str | None,
    register: str | None,
) -> Plan:
    from nnray.runners.compression.chain import Plan
    from nnray.runners.compression.methods import read_methods
    from nnray.runners.compression.target import read_target

    _require_positive(epochs=epochs, lr=lr)
    return Plan(
        methods=read_methods([methods] if isinstance(methods, str) else methods),
        epochs=epochs,
        lr=lr,
        student=[student] if isinstance(student, str) else student,
        target=None if target is None else read_target(target),
        register=register,
    )


def _require_positive(*, epochs: int | None, lr: float | None) -> None:
    if epochs is not None and epochs < 0:
        raise ConfigError("compress", [Problem("epochs", f"must be 0 or more (got {epochs})")])
    if lr is not None and not 0 < lr < float("inf"):
        raise ConfigError("compress", [Problem("lr", f"must be above 0 (got {lr})")])
