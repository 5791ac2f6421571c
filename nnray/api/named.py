"""A model as people name it, or as a verb gave it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnray.runners.results import Result
    from nnray.runners.subject import Subject


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
        root: The folder of the runs' folders.
        tracking: The store; None for the one that the model was recorded in, or as for a run.
        trust: Open also a model that runs code of whoever made it.
        experiment: The file of the experiment that weights alone are of.

    Raises:
        RunError: There is no such model.
    """
    from nnray.runners.subject import open_subject

    if not isinstance(model, str | Path):
        tracking = tracking or model.tracking_uri
        model = model.model_uri or model.folder
    return open_subject(
        str(model),
        root=Path(root),
        tracking=tracking,
        trust=trust,
        experiment=None if experiment is None else Path(experiment),
    )
