"""A model as people name it, or as a verb gave it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from nnray.runners.results import Result
    from nnray.runners.subject import Subject


class Opening(TypedDict, total=False):
    """Keywords of every verb that takes one trained model: where it is looked for, and how it is opened.

    Args:
        root: The folder of the runs' folders; ``runs`` if not given.
        tracking: The store; None for the one that the model was recorded in, or as for a run.
        trust: Open also a model that runs code of whoever made it.
        experiment: The file of the experiment that weights alone are of.
    """

    root: str | Path
    tracking: str | None
    trust: bool
    experiment: str | Path | None


def open_model(
    model: str | Path | Result,
    *,
    root: str | Path = "runs",
    tracking: str | None = None,
    trust: bool = False,
    experiment: str | Path | None = None,
) -> Subject:
    """Open a trained model for a verb.

    Args:
        model: What training gave, or any name that the model has.
        root: This and the rest as in ``Opening``.
        tracking: The store.
        trust: Open also a model that runs code.
        experiment: File of the experiment that weights alone are of.

    Raises:
        RunError: There is no such model.
    """
    from nnray.runners.subject import open_subject

    reference = model if isinstance(model, str | Path) else model.model_uri or model.folder
    return open_subject(
        str(reference),
        root=Path(root),
        tracking=tracking or store_of(model),
        trust=trust,
        experiment=None if experiment is None else Path(experiment),
    )


def store_of(model: str | Path | Result) -> str | None:
    """The store that what a verb gave was recorded in; None for a name."""
    return None if isinstance(model, str | Path) else model.tracking_uri


def root_of(opening: Opening) -> Path:
    """The folder of the runs' folders."""
    return Path(opening.get("root", "runs"))
