"""Measure a model, and write down what was found: report.json, pictures, card.md and card.html."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nnray.data.splits import DataSplits
from nnray.errors import ConfigError, DataError, Problem
from nnray.evaluation.bootstrap import Interval
from nnray.evaluation.calibration import fit_temperature
from nnray.evaluation.predictions import Predictions, collect
from nnray.evaluation.threshold import ThresholdBy, choose_threshold, untempered, with_threshold
from nnray.runners.evaluation.by_task import measure_by_task, require_no_classes_asked
from nnray.runners.evaluation.card import card
from nnray.runners.evaluation.card_text import to_html, to_markdown
from nnray.runners.evaluation.given import Given, given_examples, own_examples
from nnray.runners.evaluation.measure import Measured, measure
from nnray.runners.evaluation.mistakes import inputs_at, mistakes_picture, mistakes_table
from nnray.runners.evaluation.pictures import draw_pictures, save
from nnray.runners.findings import Findings, findings
from nnray.runners.outcome import Outcome, near
from nnray.runners.subject import Part, Subject
from nnray.training.device import find_device

_SHOWN = ("accuracy", "balanced_accuracy", "f1_macro", "auroc", "log_loss", "brier", "ece")
_TOP_K = (5,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be measured.

    Args:
        data: Other data than the model's own.
        part: Which split; None for ``test``, or all of data that have no splits.
        label: Column of the labels in a table.
        temperature: Whether to calibrate on the validation split first.
        threshold_by: Of two classes: what the threshold is chosen by, on the validation split.
        resamples: Of the bootstrap; 0 for no intervals.
        wrong: How many of the worst mistakes are shown.
        out: Folder for files.
    """

    data: Path | None = None
    part: Part | None = None
    label: str | None = None
    temperature: bool = False
    threshold_by: ThresholdBy | None = None
    resamples: int = 1000
    wrong: int = 25
    out: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated(Outcome):
    """What `nnray evaluate` found.

    Args:
        data: What was measured on.
        split: Which split of it.
        examples: How many.
        intervals: Lower and upper end, by metric.
        folder: Of the files.
        threshold: Of two classes, if one was chosen: for the model's own probabilities, also where a
            temperature was fitted, as `predict` takes it.
    """

    data: str
    split: str
    examples: int
    intervals: dict[str, list[float]] = field(default_factory=dict)
    folder: str = ""
    threshold: float | None = None

    def summary(self) -> str:
        """The figures that count, with their intervals."""
        lines = [f"{self.data}: {self.examples:,} examples"]
        of_classes = [name for name in _SHOWN if name in self.metrics]
        for name in of_classes if "log_loss" in of_classes else self.metrics:
            between = self.intervals.get(name)
            tail = f"   {between[0]:.4f} to {between[1]:.4f}" if between else ""
            lines.append(f"{name:18} {self.metrics[name]:.4f}{tail}")
        if "temperature" in self.metrics:
            before = f"ece {self.metrics['ece_before']:.4f}, log_loss {self.metrics['log_loss_before']:.4f}"
            lines.append(f"{'temperature':18} {self.metrics['temperature']:.4f}   before: {before}")
        if self.threshold is not None:
            # All its digits, so that whoever gives it on parts the same examples.
            lines.append(f"{'threshold':18} {self.threshold!r}   for predict and serve: --threshold")
        return "\n".join([*lines, f"card               {near(Path(self.folder) / 'card.html')}"])

    def _repr_html_(self) -> str:
        from nnray.runners.results import html_table

        return html_table(f"evaluate {self.data}", dict(self.metrics))


def evaluate_model(subject: Subject, request: Request, *, root: Path = Path("runs")) -> Evaluated:
    """Measure a model, write all files, and record what was found in its run.

    Args:
        subject: The model.
        request: What is to be measured.
        root: The folder of the runs' folders.

    Raises:
        DataError: There is nothing to measure on, or the model's answers are no numbers.
        ConfigError: What is asked for makes no sense for this model.
    """
    began = time.perf_counter()
    _require_sense(subject, request)
    given, own = _examples(subject, request)
    with findings(subject, "evaluate", root=root, out=request.out) as found, _on_device(subject):
        if subject.tells_classes:
            measured = _measure(subject, given, request=request, own=own)
            _write(found, given, measured)
            metrics, intervals = measured.metrics, measured.intervals
            threshold = _own_threshold(measured)
        else:
            metrics, intervals, threshold = measure_by_task(found, given), {}, None
        numbers = {name: value for name, value in metrics.items() if value == value}
        found.metrics({f"{given.key}.{name}": value for name, value in numbers.items()})
        found.metrics(dict(_ends(given.key, intervals)))
    origin = subject.origin
    return Evaluated(
        verb="evaluate",
        seconds=round(time.perf_counter() - began, 3),
        run_id=origin.run_id,
        model_uri=origin.model_uri,
        model_sha256=subject.sha256,
        tracking_uri=origin.tracking_uri,
        metrics=numbers,
        files=found.files,
        data=given.name,
        split=given.part,
        examples=len(given),
        intervals={name: [interval.low, interval.high] for name, interval in intervals.items()},
        folder=str(found.folder),
        threshold=threshold,
    )


def _require_sense(subject: Subject, request: Request) -> None:
    """Refuse what would mislead."""
    if not subject.tells_classes:
        asked = {"temperature": request.temperature, "threshold_by": request.threshold_by is not None}
        usual = Request()
        asked["bootstrap"] = request.resamples not in (0, usual.resamples)
        asked["wrong"] = request.wrong not in (0, usual.wrong)
        require_no_classes_asked(subject, asked=asked)
    problems = []
    fitted = request.temperature or request.threshold_by is not None
    if fitted and request.data is None and request.part == "val":
        advice = "is fitted on the validation split, so it can't be judged there: take --split test"
        problems.append(Problem("temperature" if request.temperature else "threshold_by", advice))
    if request.threshold_by is not None and subject.info.num_classes != 2:
        problems.append(
            Problem("threshold_by", f"is for two classes; the model has {subject.info.num_classes}")
        )
    for name, value in (("bootstrap", request.resamples), ("wrong", request.wrong)):
        if value < 0:
            problems.append(Problem(name, f"must be 0 or more (got {value})"))
    if problems:
        raise ConfigError("evaluate", problems)


def _examples(subject: Subject, request: Request) -> tuple[Given, DataSplits | None]:
    """What is measured on; and the model's own data, where they are needed."""
    fitted = request.temperature or request.threshold_by is not None
    own = subject.splits() if request.data is None or fitted else None
    if request.data is not None:
        return given_examples(subject, request.data, part=request.part, label=request.label), own
    assert own is not None
    return own_examples(subject, own, part=request.part or "test"), own


@contextmanager
def _on_device(subject: Subject) -> Iterator[None]:
    subject.module.to(find_device(subject.experiment.training.device))
    try:
        yield
    finally:
        subject.module.cpu()


def _measure(subject: Subject, given: Given, *, request: Request, own: DataSplits | None) -> Measured:
    predictions = collect(subject.module, given.batches(), where=given.name)
    temperature = None
    if own is not None and (request.temperature or request.threshold_by is not None):
        fitted_on = _validation(subject, own)
        if request.temperature:
            temperature = fit_temperature(fitted_on)
            fitted_on = fitted_on.scaled(temperature.value)
        if request.threshold_by is not None:
            threshold = choose_threshold(fitted_on, by=request.threshold_by)
            predictions = with_threshold(predictions, threshold)
    return measure(
        predictions,
        subject.info.classes,
        top_k=getattr(subject.task, "top_k", _TOP_K),
        resamples=request.resamples,
        seed=subject.experiment.seed,
        wrong=request.wrong,
        temperature=temperature,
    )


def _own_threshold(measured: Measured) -> float | None:
    if measured.threshold is None or measured.temperature is None:
        return measured.threshold
    return untempered(measured.threshold, measured.temperature.value)


def _validation(subject: Subject, own: DataSplits) -> Predictions:
    if own.val is None:
        raise DataError(
            f"{own.info.name}: has no validation split to fit a temperature or threshold on; the test split "
            "is not taken for it, as its figures would then be too good: train with data.validation"
        )
    given = own_examples(subject, own, part="val")
    return collect(subject.module, given.batches(), where=given.name)


def _ends(key: str, intervals: dict[str, Interval]) -> Iterable[tuple[str, float]]:
    for name, interval in intervals.items():
        yield f"{key}.{name}_low", interval.low
        yield f"{key}.{name}_high", interval.high


def _write(found: Findings, given: Given, measured: Measured) -> None:
    subject = found.subject
    pictures = [*draw_pictures(measured, found.folder), *_mistakes(found, given, measured)]
    for path in pictures:
        found.file(path)
    report: dict[str, Any] = {
        "version": 1,
        "data": given.name,
        "split": given.part,
        "digest": given.info.digest,
        "model_sha256": subject.sha256,
        "model_uri": subject.origin.model_uri,
        **measured.to_dict(),
    }
    found.text(json.dumps(report, indent=1, allow_nan=False), "report.json")
    title = f"{subject.experiment.name}: model card"
    parts = card(subject, given, measured=measured, files=pictures)
    found.text(to_markdown(title, parts), "card.md")
    found.text(to_html(title, parts), "card.html")


def _mistakes(found: Findings, given: Given, measured: Measured) -> list[Path]:
    """A picture where examples are images, else a table."""
    if not measured.wrong:
        return []
    inputs: Tensor = inputs_at(given.batches(), [example.index for example in measured.wrong])
    if inputs.ndim == 4 and inputs.shape[1] in (1, 3):
        figure = mistakes_picture(measured.wrong, inputs, classes=measured.classes)
        return [save(figure, found.folder / "mistakes.png")]
    table = mistakes_table(measured.wrong, torch.flatten(inputs, 1), classes=measured.classes)
    found.text(table, "mistakes.txt")
    return []
