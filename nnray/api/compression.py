"""A smaller model out of a trained one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    root: str | Path = "runs",
    tracking: str | None = None,
    trust: bool = False,
    experiment: str | Path | None = None,
    out: str | Path | None = None,
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
        root: The folder of the runs' folders.
        tracking: The store; None as for a run.
        trust: Open also a model that runs code of whoever made it.
        experiment: The file of the experiment that weights alone are of.
        out: Folder for files; None for a new one below the run's.

    Raises:
        RunError: There is no such model.
        IncompatibleModel: A method can't handle it.
        ConfigError: A method, or the target, is wrong.
        DataError: Its data aren't there.
    """
    from nnray.runners import compression
    from nnray.runners.subject import open_subject

    plan = _plan(methods, student, epochs=epochs, lr=lr, target=target, register=register)
    reference, tracking = _reference(model, tracking)
    subject = open_subject(
        reference,
        root=Path(root),
        tracking=tracking,
        trust=trust,
        experiment=None if experiment is None else Path(experiment),
    )
    return compression.compress(subject, plan, root=Path(root), out=None if out is None else Path(out))


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


def _reference(model: str | Path | Result, tracking: str | None) -> tuple[str, str | None]:
    if isinstance(model, str | Path):
        return str(model), tracking
    return model.model_uri or str(model.folder), tracking or model.tracking_uri


def _require_positive(*, epochs: int | None, lr: float | None) -> None:
    if epochs is not None and epochs < 0:
        raise ConfigError("compress", [Problem("epochs", f"must be 0 or more (got {epochs})")])
    if lr is not None and not 0 < lr < float("inf"):
        raise ConfigError("compress", [Problem("lr", f"must be above 0 (got {lr})")])
