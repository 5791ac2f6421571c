"""Figures of a model that gives something else than one class for each example: those of its task.

Such a task knows what its errors are; confusion, calibration and curves of scores are of classes alone.
There are no intervals: examples may overlap, as windows of a series do, and resamples of them would tell too
little.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from nnray.data.splits import DataSplits
from nnray.errors import ConfigError, DataError, Problem
from nnray.evaluation.evaluate import evaluate
from nnray.runners.evaluation.card import Part, about_model, about_settings, figure
from nnray.runners.evaluation.card_text import to_html, to_markdown
from nnray.runners.evaluation.given import Given
from nnray.runners.exhibits.make import exhibits
from nnray.runners.findings import Findings
from nnray.runners.subject import Subject

_LIMITS = (
    "The figures are of these examples: how far chance moves them was not measured.",
    "One training with one seed: another seed gives other weights and other figures.",
)


def require_no_classes_asked(subject: Subject, *, asked: Mapping[str, bool]) -> None:
    """Refuse what is for classes alone.

    Args:
        subject: The model.
        asked: Names of arguments, and whether they were given.

    Raises:
        ConfigError: With all of them.
    """
    task = subject.experiment.task.name
    message = f"is for models that tell one class of each example, this one is of task {task}: leave it out"
    if problems := [Problem(name, message) for name, given in asked.items() if given]:
        raise ConfigError("evaluate", problems)


def measure_by_task(found: Findings, given: Given) -> dict[str, float]:
    """Measure a model as training does, and write down what was found.

    Args:
        found: Takes the files.
        given: What is measured on.

    Returns:
        The metrics, by their names in the task.

    Raises:
        DataError: There is nothing to measure on.
    """
    subject = found.subject
    sums = evaluate(subject.module, given.batches(), subject.task)
    if not sums.count:
        raise DataError(f"{given.name}: there are no examples; at least one is needed to measure anything")
    metrics = subject.task.summarize(sums)
    pictures = _shown(found, given)
    report = {
        "version": 1,
        "data": given.name,
        "split": given.part,
        "digest": given.info.digest,
        "model_sha256": subject.sha256,
        "model_uri": subject.origin.model_uri,
        "num_examples": sums.count,
        "metrics": {name: value if value == value else None for name, value in metrics.items()},
    }
    found.text(json.dumps(report, indent=1), "report.json")
    title, parts = f"{subject.experiment.name}: model card", _card(given, metrics, found, pictures=pictures)
    found.text(to_markdown(title, parts), "card.md")
    found.text(to_html(title, parts), "card.html")
    return metrics


def _shown(found: Findings, given: Given) -> list[Path]:
    """What the task shows, of the examples that are measured."""
    subject = found.subject
    splits = DataSplits(given.split, given.split, None, given.info)
    files = exhibits(subject.experiment, subject.module, splits=splits, task=subject.task)
    paths = []
    for name, data in files.items():
        path = found.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        found.file(path)
        paths.append(path)
    return paths


def _card(given: Given, metrics: Mapping[str, float], found: Findings, *, pictures: list[Path]) -> list[Part]:
    rows = [[name.replace("_", " "), figure(value)] for name, value in metrics.items()]
    text = f"Measured on {len(given):,} examples: {given.name}."
    drawn = {path: path.stem.replace("_", " ") for path in pictures if path.suffix == ".png"}
    return [
        *about_model(found.subject, given),
        Part(title="Results", text=text, head=("metric", "value"), rows=rows),
        Part(title="Limits", points=_LIMITS),
        Part(title="Pictures", pictures=drawn),
        *about_settings(found.subject),
    ]
