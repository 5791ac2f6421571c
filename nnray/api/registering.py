"""The registered models, and which one is the champion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from nnray.api.named import Opening, open_model, root_of

if TYPE_CHECKING:
    from nnray.runners.registry.listing import Models
    from nnray.runners.registry.promotion import Promoted
    from nnray.runners.results import Result


def promote(
    model: str | Path | Result,
    *,
    alias: str = "champion",
    name: str | None = None,
    metric: str | None = None,
    force: bool = False,
    **opening: Unpack[Opening],
) -> Promoted:
    """Point an alias to a model, unless the present one is better on the same test data.

    Args:
        model: What training gave, or any name that the model has.
        alias: To point to it.
        name: To register it under; None for the name that it has, else its experiment's.
        metric: What decides; None for ``test_accuracy``, or ``test_loss`` where a task has no accuracy.
        force: Whether it may be worse, or beyond comparison.
        opening: ``root``, ``tracking``, ``trust`` and ``experiment``, as for every trained model.

    Raises:
        RunError: It is worse, can't be compared, or is in no store.
        ConfigError: No such metric, or a name or an alias that MLflow doesn't take.
        TrackingError: The store can't be asked.
    """
    from nnray.runners.registry.promotion import Request, promote_model

    subject = open_model(model, **opening)
    trust = opening.get("trust", False)
    request = Request(alias=alias, name=name, metric=metric, force=force, trust=trust)
    return promote_model(subject, request, root=root_of(opening))


def list_models(name: str | None = None, *, tracking: str | None = None) -> Models:
    """List the registered models, newest first: aliases, metrics, runs.

    Args:
        name: Of one registered model; None for all.
        tracking: The store; None as for a run.

    Raises:
        RunError: There is no such name.
        TrackingError: The store can't be asked.
    """
    from nnray.runners.registry.listing import list_registered

    return list_registered(name, tracking=tracking)
