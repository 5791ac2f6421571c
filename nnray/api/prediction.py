"""Classes for new inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from nnray.errors import ConfigError, Problem

if TYPE_CHECKING:
    from nnray.config import Experiment
    from nnray.runners.prediction import Predictions
    from nnray.runners.prediction.write import Format
    from nnray.runners.results import Result

_TABLES = ("csv", "parquet")


def predict(
    model: str | Path | Result,
    inputs: str | Path | Sequence[str | Path],
    *,
    out: str | Path | TextIO | None = None,
    file_format: Format | None = None,
    batch_size: int = 256,
    probabilities: bool = False,
    label: str | None = None,
    columns: Sequence[str] = (),
    resize: bool = False,
    skip_unreadable: bool = False,
    on_ray: bool = False,
    root: str | Path = "runs",
    tracking: str | None = None,
    trust: bool = False,
    experiment: str | Path | None = None,
) -> Predictions:
    """Classify pictures, or rows of tables and arrays.

    Args:
        model: A trained model: what training gave, or any name that it has.
        inputs: Pictures, CSV, Parquet and .npz files (array ``x``), and folders of them.
        out: A file that ends in .csv, .json or .parquet, or an open stream of text; None keeps the answers.
        file_format: How ``out`` is written; None reads it off its name.
        batch_size: Inputs at a time.
        probabilities: Whether to give those of all classes.
        label: Column of tables to pass over; None: the one that the model's experiment names.
        columns: Columns that are the model's inputs, in its order; none named: those that its experiment
            names, else all but the label.
        resize: Whether to scale pictures of another size than the model takes.
        skip_unreadable: Whether to pass over what can't be read, rather than to fail.
        on_ray: Whether to use the Ray cluster at ``RAY_ADDRESS``, or all cores of this machine.
        root: The folder of the runs' folders.
        tracking: The store; None as for a run.
        trust: Open also a model that runs code of whoever made it.
        experiment: The file of the experiment that weights alone are of.

    Raises:
        RunError: There is no such model.
        DataError: Inputs can't be read, all of them named; nothing is written.
        ConfigError: An argument is out of its range.
    """
    from nnray.data.inputs import read_inputs
    from nnray.runners import prediction
    from nnray.runners.subject import open_subject

    if batch_size < 1:
        raise ConfigError(
            "predict", [Problem("batch_size", f"must be an integer above 0 (got {batch_size})")]
        )
    reference, tracking = _reference(model, tracking)
    subject = open_subject(
        reference,
        root=Path(root),
        tracking=tracking,
        trust=trust,
        experiment=None if experiment is None else Path(experiment),
    )
    known_label, known_columns, image = _told(subject.experiment)
    found = read_inputs(
        [inputs] if isinstance(inputs, str | Path) else inputs,
        subject.info,
        label=label or known_label,
        columns=columns or known_columns,
        image=None if columns else image,
        resize=resize,
        skip_unreadable=skip_unreadable,
    )
    return prediction.predict(
        subject,
        found,
        out=Path(out) if isinstance(out, str) else out,
        file_format=file_format,
        batch_size=batch_size,
        probabilities=probabilities,
        on_ray=on_ray,
    )


def _reference(model: str | Path | Result, tracking: str | None) -> tuple[str, str | None]:
    if isinstance(model, str | Path):
        return str(model), tracking
    return model.model_uri or str(model.folder), tracking or model.tracking_uri


def _told(experiment: Experiment) -> tuple[str | None, Sequence[str], str | None]:
    """What the experiment says of a table's columns: label, inputs, pictures."""
    if experiment.data.name not in _TABLES:
        return None, (), None
    keys = experiment.data.component.kwargs
    return keys["label"], keys.get("columns") or (), keys.get("image")
