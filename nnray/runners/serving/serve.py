"""Serve a trained model over HTTP until it is told to end."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from nnray import __version__
from nnray.errors import ConfigError, Problem
from nnray.runners.features import feature_names
from nnray.runners.kinds import scores_classes
from nnray.runners.prediction.kinds import threshold_problem
from nnray.runners.serving.app import Application, Limits
from nnray.runners.serving.engine import Engine
from nnray.runners.serving.server import address, run
from nnray.runners.serving.signature import Signature
from nnray.runners.store import say
from nnray.runners.subject import Subject


def application(
    subject: Subject,
    *,
    batch_size: int = 64,
    threads: int | None = None,
    max_examples: int = 10_000,
    limits: Limits | None = None,
    threshold: float | None = None,
) -> Application:
    """The ASGI application of a model, warmed up.

    Args:
        subject: The model.
        batch_size: Examples of a forward pass at most.
        threads: Of a forward pass; None for torch's own choice.
        max_examples: Of a request.
        limits: What else a request may take.
        threshold: Of two classes: from which probability on the second is told; None for the likelier.

    Raises:
        ConfigError: The threshold is none for this model.
    """
    classes = subject.info.classes if subject.tells_classes else ()
    if threshold is not None and (message := threshold_problem(threshold, classes)):
        raise ConfigError("serve", [Problem("threshold", message)])
    signature = Signature.of(subject.info, most=max_examples, columns=feature_names(subject))
    if not scores_classes(subject.info, subject.task):  # whatever classes its data have
        signature = replace(signature, classes=())
    engine = Engine(_bounded(subject), batch_size=batch_size, threads=threads)
    engine.warm_up(subject.info.blank(1))
    about = {
        "model": subject.origin.model_uri or subject.reference,
        "model_sha256": subject.sha256,
        "nnray": __version__,
    }
    return Application(engine, signature, about=about, limits=limits, threshold=threshold)


def _bounded(subject: Subject) -> Callable[[Tensor], Tensor]:
    """The model, with numbers within the bounds of its task where that has some."""
    module, bound = subject.module, getattr(subject.task, "bounded", None)
    return module if bound is None else (lambda inputs: bound(module(inputs)))


def serve(app: Application, listener: socket.socket, *, name: str) -> None:
    """Answer until Ctrl-C or SIGTERM, and say where.

    Args:
        app: What answers.
        listener: Takes connections already.
        name: Of the model, for people.
    """
    say(f"{name} answers at {address(listener)}/invocations (Ctrl-C ends it)")
    run(app, listener)
    say("all requests that had come are answered; the server has ended")
