"""How good a model is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from nnray.api.named import Opening, open_model, root_of
from nnray.errors import ConfigError, Problem, suggestion

if TYPE_CHECKING:
    from nnray.evaluation.threshold import ThresholdBy
    from nnray.runners.evaluation import Evaluated
    from nnray.runners.results import Result
    from nnray.runners.subject import Part

_SPLITS = ("train", "val", "test")


def evaluate(
    model: str | Path | Result,
    *,
    data: str | Path | None = None,
    split: Part | None = None,
    label: str | None = None,
    temperature: bool = False,
    threshold_by: ThresholdBy | None = None,
    bootstrap: int = 1000,
    wrong: int = 25,
    out: str | Path | None = None,
    **opening: Unpack[Opening],
) -> Evaluated:
    """Measure a trained model: figures with intervals, curves, calibration, its worst mistakes, and a card.

    Args:
        model: What training gave, or any name that the model has.
        data: Other labelled data: a folder of images (CLASS/*), a CSV, Parquet or .npz file, or an experiment
            file, whose data section is taken. Labels are the model's classes by name.
        split: Which split is measured; None for ``test``, or all of data that have no splits.
        label: Column of the labels in a table; None for the one that the model's experiment names.
        temperature: Whether to calibrate first, by one temperature fitted on the validation split.
        threshold_by: Of two classes: accuracy, balanced_accuracy or f1, that the threshold between them has
            the best of on the validation split.
        bootstrap: Resamples for the intervals; 0 for none.
        wrong: How many of the worst mistakes are shown.
        out: Folder for files; None for a new one below the run's.
        opening: ``root``, ``tracking``, ``trust`` and ``experiment``, as for every trained model.

    Raises:
        RunError: There is no such model.
        DataError: There is nothing to measure on, or its classes or shapes are not the model's.
        ConfigError: An argument is out of its range.
    """
    from nnray.evaluation.threshold import CRITERIA
    from nnray.runners.evaluation import Request, evaluate_model

    _require("split", split, _SPLITS)
    _require("threshold_by", threshold_by, CRITERIA)
    subject = open_model(model, **opening)
    request = Request(
        data=None if data is None else Path(data).expanduser(),
        part=split,
        label=label,
        temperature=temperature,
        threshold_by=threshold_by,
        resamples=bootstrap,
        wrong=wrong,
        out=None if out is None else Path(out),
    )
    return evaluate_model(subject, request, root=root_of(opening))


def _require(name: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        raise ConfigError("evaluate", [Problem(name, f"got {value!r}; {suggestion(value, allowed)}")])
