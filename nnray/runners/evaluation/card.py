"""A model card: what a model is, what it was measured on, and where it must not be trusted.

It says only what is known: every line is read off the experiment, the data or the figures.

Source:
    Mitchell et al., Model Cards for Model Reporting, 2019.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch

from nnray import __version__
from nnray.config import flatten
from nnray.evaluation.cost import count_parameters
from nnray.runners.evaluation.given import Given
from nnray.runners.evaluation.limits import limits
from nnray.runners.evaluation.measure import Measured
from nnray.runners.subject import Subject

_HEADLINE = ("accuracy", "balanced_accuracy", "f1_macro", "auroc", "log_loss", "brier", "ece")
_PICTURES = {
    "confusion.png": "How often each class (row) is taken for each (column)",
    "roc.png": "True over false positive rate, one class against the rest",
    "precision_recall.png": "Precision over recall, one class against the rest",
    "reliability.png": "Accuracy by confidence; on the dashed line they are equal",
    "mistakes.png": "The mistakes with the highest loss",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A section of a card; what is empty isn't shown.

    Args:
        title: Its heading.
        text: Sentences.
        facts: Names and values.
        head: Of a table.
        rows: Of the table.
        points: A list.
        code: To be typed.
        pictures: Files, and what they show.
    """

    title: str
    text: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)
    head: Sequence[str] = ()
    rows: Sequence[Sequence[object]] = ()
    points: Sequence[str] = ()
    code: str = ""
    pictures: Mapping[Path, str] = field(default_factory=dict)


def card(subject: Subject, given: Given, *, measured: Measured, files: Sequence[Path]) -> list[Part]:
    """All that is to be said of a model.

    Args:
        subject: The model.
        given: What it was measured on.
        measured: The figures.
        files: Pictures that were drawn.
    """
    return [
        *about_model(subject, given),
        _results(given, measured),
        _classes(measured),
        _calibration(measured),
        Part(title="Limits", points=limits(subject, given, measured=measured)),
        Part(title="Pictures", pictures={p: _PICTURES[p.name] for p in files if p.name in _PICTURES}),
        _use(subject),
        *about_settings(subject),
    ]


def about_model(subject: Subject, given: Given) -> list[Part]:
    """What a model is, and what it was trained and measured on."""
    return [_model(subject), _data(subject, given)]


def about_settings(subject: Subject) -> list[Part]:
    """How a model was trained, and with which versions it was measured."""
    settings = {key: value for key, value in flatten(subject.experiment).items() if value is not None}
    rows = [[key, str(value)] for key, value in settings.items()]
    return [
        Part(title="Settings", head=("setting", "value"), rows=rows),
        Part(title="Versions", facts=_versions()),
    ]


def _model(subject: Subject) -> Part:
    origin, info = subject.origin, subject.info
    registered = f"{origin.name}, version {origin.version}" if origin.name else ""
    facts = {
        "model": subject.experiment.model.name,
        "parameters": f"{count_parameters(subject.module):,}",
        "input": f"{' x '.join(map(str, info.input_shape))} numbers",
        "classes": f"{info.num_classes}: {_some(info.classes)}" if info.classes else "",
        "registered as": registered,
        "run": origin.run or origin.run_id,
        "epoch or round of the weights": origin.step or "",
        "SHA-256 of the weights": subject.sha256,
        "recorded in": origin.tracking_uri,
    }
    return Part(title="Model", facts={name: value for name, value in facts.items() if value != ""})


def _data(subject: Subject, given: Given) -> Part:
    facts = {
        "trained on": subject.info.name,
        "SHA-256 of training and validation data": subject.info.digest or "not recorded",
        "validation": f"{subject.experiment.data.validation:g} of the training data, or a split of its own",
        "measured on": given.name,
        "examples measured": f"{len(given):,}",
    }
    return Part(title="Data", facts=facts)


def _results(given: Given, measured: Measured) -> Part:
    rows: list[list[object]] = []
    shown = [name for name in _HEADLINE if name in measured.metrics]
    for name in [*shown, *(name for name in measured.metrics if name not in shown)]:
        interval = measured.intervals.get(name)
        between = f"{interval.low:.4f} to {interval.high:.4f}" if interval else ""
        rows.append([name.replace("_", " "), figure(measured.metrics[name]), between])
    some = next(iter(measured.intervals.values()), None)
    text = f"Measured on {len(given):,} examples: {given.name}."
    if some is not None:
        text += (
            f" Intervals hold {some.level:.0%} of {some.resamples:,} bootstrap resamples of these examples."
        )
    if measured.threshold is not None:
        text += f" {measured.classes[1]} is predicted from a probability of {measured.threshold:.4f} on."
    return Part(title="Results", text=text, head=("metric", "value", "interval"), rows=rows)


def _classes(measured: Measured) -> Part:
    rows = [
        [
            row.name,
            row.support,
            *map(figure, (row.precision, row.recall, row.f1, row.auroc, row.average_precision)),
        ]
        for row in measured.by_class
    ]
    head = ("class", "examples", "precision", "recall", "F1", "AUROC", "average precision")
    return Part(title="By class", head=head, rows=rows)


def _calibration(measured: Measured) -> Part:
    found, before, temperature = measured.reliability, measured.uncalibrated, measured.temperature
    text = (
        f"Confidence and accuracy differ by {found.ece:.4f} on average (ECE, {len(found.count)} bins), by at "
        f"most {found.mce:.4f} in a bin."
    )
    if before is not None and temperature is not None:
        text += (
            f" Logits were divided by a temperature of {temperature.value:.4f}, fitted on "
            f"{temperature.num_examples:,} validation examples; before, ECE was {before.ece:.4f}, log loss "
            f"{measured.metrics['log_loss_before']:.4f}. The model itself is unchanged."
        )
    return Part(title="Calibration", text=text)


def _use(subject: Subject) -> Part:
    origin = subject.origin
    name = f"{origin.name}/{origin.version}" if origin.name else origin.model_uri or subject.reference
    lines = (f"nnray predict {name} INPUT...", f"nnray evaluate {name} --data PATH")
    shape = ", ".join(map(str, subject.info.input_shape))
    kind = "pixels from 0 to 1" if len(subject.info.input_shape) == 3 else "features as in the data"
    missing = ", NaN where a value is missing" if subject.info.missing else ""
    text = f"Inputs are float32 [batch, {shape}]: {kind}{missing}. Outputs are logits, one for each class."
    return Part(title="Use", text=text, code="\n".join(lines))


def _versions() -> dict[str, object]:
    packages = {name: version(name) for name in ("numpy", "mlflow")}
    return {"nnray": __version__, "python": platform.python_version(), "torch": torch.__version__, **packages}


def figure(value: float) -> str:
    """A figure for people; a dash where it is undefined."""
    return "-" if value != value else f"{value:.4f}"


def _some(names: Sequence[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
