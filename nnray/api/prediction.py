"""Classes or numbers for new inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, Unpack

from nnray.api.named import Opening, open_model

if TYPE_CHECKING:
    from nnray.config import Experiment
    from nnray.data.inputs import Block
    from nnray.runners.prediction import Predictions
    from nnray.runners.prediction.write import Format
    from nnray.runners.results import Result
    from nnray.runners.subject import Subject

_TABLES, _TEXTS = ("csv", "parquet"), "text_csv"


def predict(
    model: str | Path | Result,
    inputs: str | Path | Sequence[str | Path],
    *,
    out: str | Path | TextIO | None = None,
    file_format: Format | None = None,
    batch_size: int = 256,
    probabilities: bool = False,
    threshold: float | None = None,
    label: str | None = None,
    columns: Sequence[str] = (),
    resize: bool = False,
    skip_unreadable: bool = False,
    on_ray: bool = False,
    **opening: Unpack[Opening],
) -> Predictions:
    """Classify pictures, texts, or rows of tables and arrays, or give the number that a model tells of each.

    Args:
        model: A trained model: what training gave, or any name that it has.
        inputs: Pictures, CSV, Parquet and .npz files (array ``x``), texts (.txt, a line each), and folders.
        out: A file that ends in .csv, .json or .parquet, or an open stream of text; None keeps the answers.
        file_format: How ``out`` is written; None reads it off its name.
        batch_size: Inputs at a time.
        probabilities: Whether to give those of all classes.
        threshold: Of two classes: from which probability on the second is told; None for the likelier.
        label: Column of tables to pass over; None: the one that the model's experiment names.
        columns: To take, in the model's order; none: as its experiment, or all but the label (``text``).
        resize: Whether to scale pictures of another size than the model takes.
        skip_unreadable: Whether to pass over what can't be read, rather than to fail.
        on_ray: Whether to use the Ray cluster at ``RAY_ADDRESS``, or all cores of this machine.
        opening: ``root``, ``tracking``, ``trust`` and ``experiment``, as for every trained model.

    Raises:
        RunError: There is no such model.
        DataError: Inputs can't be read; nothing is written.
        ConfigError: An argument is out of its range, or not for this model.
    """
    from nnray.data.inputs import read_inputs
    from nnray.runners import prediction

    subject = open_model(model, **opening)
    named = [inputs] if isinstance(inputs, str | Path) else inputs
    written: Any = {"out": Path(out) if isinstance(out, str) else out, "file_format": file_format}
    if prediction.goes_on(subject):
        asked = {"probabilities": probabilities, "threshold": threshold is not None, "label": bool(label)}
        others = {"resize": resize, "ray": on_ray, "skip_unreadable": skip_unreadable}
        ends = _last_windows(subject, named, columns=columns, asked=asked | others)
        return prediction.predict_ahead(subject, ends, **written)
    told = {**_columns(subject.experiment, label, columns=columns), "resize": resize}
    return prediction.predict(
        subject,
        read_inputs(named, subject.info, skip_unreadable=skip_unreadable, **told),
        batch_size=batch_size,
        probabilities=probabilities,
        threshold=threshold,
        on_ray=on_ray,
        **written,
    )


def _last_windows(
    subject: Subject, paths: Sequence[str | Path], *, columns: Sequence[str], asked: Mapping[str, bool]
) -> Block:
    """The ends of series, told apart and filled in as the experiment has them."""
    from nnray.data.input_series import last_windows
    from nnray.runners.prediction import require_none_asked

    require_none_asked(asked)
    known = subject.experiment.data.component.kwargs
    told = {key: known[key] for key in ("group", "missing") if known.get(key)}
    return last_windows(paths, subject.info, columns=columns, **told)


def _columns(experiment: Experiment, label: str | None, *, columns: Sequence[str]) -> dict[str, Any]:
    """Label, inputs and pictures of tables: as asked for, else as the experiment has them."""
    known: Mapping[str, Any] = {}
    if experiment.data.name == _TEXTS:
        known = experiment.data.component.kwargs
        named = {"delimiter": known.get("delimiter", ","), "label": label or known.get("label")}
        return {**named, "columns": columns or [known[key] for key in ("text",) if key in known]}
    if experiment.data.name in _TABLES:
        known = experiment.data.component.kwargs
    return {
        "label": label or known.get("label"),
        "columns": columns or known.get("columns") or (),
        "image": None if columns else known.get("image"),
    }
