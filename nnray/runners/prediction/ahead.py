"""What comes after series: a row for each step, with the channels that a model forecasts as columns."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import torch

from nnray.data.inputs import Block
from nnray.errors import ConfigError, Problem, RunError
from nnray.runners.prediction.run import Predictions
from nnray.runners.prediction.write import Format, aside, format_of
from nnray.runners.subject import Subject
from nnray.training.device import find_device

Rows = list[dict[str, Any]]


def goes_on(subject: Subject) -> bool:
    """Whether a model says how the channels of its inputs go on."""
    given, wanted = subject.info.input_shape, subject.info.target_shape
    numbers = subject.info.targets == "numbers" and not subject.info.vocabulary
    return numbers and len(given) == len(wanted) == 2 and wanted[0] <= given[0]


def predict_ahead(
    subject: Subject, windows: Block, *, out: Path | TextIO | None = None, file_format: Format | None = None
) -> Predictions:
    """Forecast what comes after windows.

    Args:
        subject: The model.
        windows: The last rows of some series.
        out: Where rows go; None keeps them.
        file_format: How they are written; None reads it off the name of ``out``.

    Raises:
        RunError: The model gives no numbers.
        ConfigError: Rows can't be written so.
    """
    started, form = time.monotonic(), format_of(out, file_format)
    rows = list(_rows(subject, windows))
    if out is not None:
        _write(rows, out, form)
    return Predictions(
        verb="predict",
        seconds=time.monotonic() - started,
        run_id=subject.origin.run_id,
        model_uri=subject.origin.model_uri,
        model_sha256=subject.sha256,
        tracking_uri=subject.origin.tracking_uri,
        files=[str(out)] if isinstance(out, Path) else [],
        rows=len(windows.names),
        by_class={},
        unreadable=[],
        answers=rows if out is None else [],
    )


def require_none_asked(asked: Mapping[str, bool]) -> None:
    """Refuse what has no meaning for series.

    Args:
        asked: Names of arguments, and whether they were given.

    Raises:
        ConfigError: With all of them.
    """
    message = "is not for models that go on with series: leave it out"
    if problems := [Problem(name, message) for name, given in asked.items() if given]:
        raise ConfigError("predict", problems)


def _rows(subject: Subject, windows: Block) -> Iterator[dict[str, Any]]:
    device, count = find_device(subject.experiment.training.device), subject.info.target_shape[0]
    channels = subject.info.features[:count] or tuple(f"channel {number}" for number in range(count))
    with torch.inference_mode():
        outputs = subject.module.to(device).eval()(windows.inputs.to(device)).double().cpu()
    for name, forecast in zip(windows.names, outputs, strict=True):
        if not bool(forecast.isfinite().all()):
            raise RunError(
                f"{subject.reference} gives no finite numbers for {name}: its weights have diverged, or the "
                "series is far beyond what it was trained on; look at the training's loss"
            )
        for step, values in enumerate(forecast.T.tolist(), start=1):
            yield {"name": name, "step": step, **dict(zip(channels, values, strict=True))}


def _write(rows: Rows, out: Path | TextIO, form: Format) -> None:
    if not isinstance(out, Path):
        out.write(_text(rows, form))
        return
    with aside(out, binary=form == "parquet") as file:
        if form == "parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.Table.from_pylist(rows), file)
        else:
            file.write(_text(rows, form))


def _text(rows: Rows, form: Format) -> str:
    if form == "json":
        return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    file = io.StringIO()
    lines = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    lines.writeheader()
    lines.writerows({k: f"{v:.9g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    return file.getvalue()
