"""Which models have answers that stand in a row: a class of an example, or one number."""

from __future__ import annotations

import math

from nnray.errors import ConfigError, Problem
from nnray.runners.subject import Subject


def tells_number(subject: Subject) -> bool:
    """Whether a model tells one number of an example."""
    shape = _output_shape(subject)
    return subject.info.targets == "numbers" and shape is not None and math.prod(shape) == 1


def require_answers(
    subject: Subject, *, threshold: float | None = None, probabilities: bool = False
) -> tuple[str, ...]:
    """Check that a model's answers have a form here, and that what is asked of them has a meaning.

    Args:
        subject: The model.
        threshold: Of two classes, from 0 to 1.
        probabilities: Whether those of classes are asked for.

    Returns:
        Names of the classes that it tells; none where it tells numbers.

    Raises:
        ConfigError: With what to do instead.
    """
    classes = subject.info.classes if subject.tells_classes else ()
    if not classes and not tells_number(subject):
        message = (
            f"is of task {subject.experiment.task.name}, which tells neither a class nor one number of an "
            "example; predict is for these and for series: measure it with nnray evaluate, or write it out "
            "with nnray export"
        )
        raise ConfigError("predict", [Problem("model", message)])
    problems = []
    if probabilities and not classes:
        message = "are of classes; the model tells a number of each example: leave it out"
        problems.append(Problem("probabilities", message))
    if threshold is not None and (message := threshold_problem(threshold, classes)):
        problems.append(Problem("threshold", message))
    if problems:
        raise ConfigError("predict", problems)
    return classes


def threshold_problem(threshold: float, classes: tuple[str, ...]) -> str:
    """What is wrong with a threshold; empty where nothing is.

    Args:
        threshold: From which probability on the second class is told.
        classes: That the model tells; none where it tells something else.
    """
    if not classes:
        return "is for two classes; the model tells none: leave it out"
    if len(classes) != 2:
        return f"is for two classes; the model has {len(classes)}: leave it out"
    # The next number above 1, by which all are of the first class, is what may be chosen by; NaN is none.
    return (
        ""
        if 0 <= threshold <= math.nextafter(1.0, 2.0)
        else f"must be a probability from 0 to 1 (got {threshold:g})"
    )


def _output_shape(subject: Subject) -> tuple[int, ...] | None:
    shape: tuple[int, ...] | None = getattr(subject.task, "output_shape", None)
    return subject.info.output_shape if shape is None else shape
