"""A trained model as an HTTP service."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from nnray.api.named import Opening, open_model
from nnray.errors import ConfigError, Problem

if TYPE_CHECKING:
    from nnray.runners.results import Result


def serve(
    model: str | Path | Result,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    batch_size: int = 64,
    threads: int | None = None,
    max_body_mib: float = 16.0,
    max_examples: int = 10_000,
    threshold: float | None = None,
    **opening: Unpack[Opening],
) -> None:
    """Answer requests in MLflow's protocol; returns when Ctrl-C or SIGTERM has ended it.

    Args:
        model: A trained model: what training gave, or any name that it has.
        host: Address to listen on; ``0.0.0.0`` for all of this machine's.
        port: Port to listen on; 0 for any that is free.
        batch_size: Examples of a forward pass at most: requests that wait share one.
        threads: Of a forward pass; None for torch's own choice.
        max_body_mib: Size of a request's body.
        max_examples: Of a request.
        threshold: Of two classes: from which probability on the second is told where classes are asked for;
            None for the likelier.
        opening: ``root``, ``tracking``, ``trust`` and ``experiment``, as for every trained model.

    Raises:
        RunError: There is no such model.
        ConfigError: The port is taken, or an argument is out of its range.
    """
    from nnray.runners.serving.app import Limits
    from nnray.runners.serving.serve import application
    from nnray.runners.serving.serve import serve as run
    from nnray.runners.serving.server import listen

    _require_above_zero(
        batch_size=batch_size,
        threads=1 if threads is None else threads,
        max_body_mib=max_body_mib,
        max_examples=max_examples,
    )
    # The port first: that it is taken is known at once, not once a model is loaded.
    with contextlib.closing(listen(host, port)) as listener:
        subject = open_model(model, **opening)
        limits = Limits(body_bytes=int(max_body_mib * 2**20))
        app = application(
            subject,
            batch_size=batch_size,
            threads=threads,
            max_examples=max_examples,
            limits=limits,
            threshold=threshold,
        )
        run(app, listener, name=subject.reference)


def _require_above_zero(**values: float) -> None:
    problems = [Problem(k, f"must be above 0 (got {v:g})") for k, v in values.items() if not v > 0]
    if problems:
        raise ConfigError("serve", problems)
