"""What figures don't show, as far as it can be read off the facts."""

from __future__ import annotations

from collections.abc import Iterator

from nnray.runners.evaluation.given import Given
from nnray.runners.evaluation.measure import Measured
from nnray.runners.subject import Subject

_FEW, _WIDE = 30, 0.05
_NAMED = 20


def limits(subject: Subject, given: Given, *, measured: Measured) -> list[str]:
    """Each in one sentence.

    Args:
        subject: The model.
        given: What it was measured on.
        measured: The figures.
    """
    return [*_of_split(given), *_of_choice(subject, measured), *_of_counts(measured), *_always(subject)]


def _of_split(given: Given) -> Iterator[str]:
    if given.part == "train" and not given.is_foreign:
        yield "The model has learnt from the examples that it was measured on: other examples will do worse."
    elif given.part == "val" and not given.is_foreign:
        yield (
            "The epoch, and the settings of a sweep, are chosen by the validation split: figures measured "
            "on it are too good."
        )
    elif not given.is_foreign:
        yield "The figures hold while nothing is chosen by them: each look at the test split wears it out."
    else:
        yield "It was not checked whether the examples measured on are among those that were trained on."


def _of_choice(subject: Subject, measured: Measured) -> Iterator[str]:
    experiment = subject.experiment
    yield f"One training with the seed {experiment.seed}: another seed gives other weights and other figures."
    if experiment.sweep is not None:
        yield "The settings come from, or go into, a sweep: they were chosen by the validation split."
    if measured.threshold is not None:
        yield "The threshold was chosen on the validation split, for its share of the classes."
    if measured.temperature is not None and measured.temperature.at_bound:
        yield "The temperature ran to the end of its range: the validation split doesn't determine it."


def _of_counts(measured: Measured) -> Iterator[str]:
    absent = [row.name for row in measured.by_class if not row.support]
    small = [f"{row.name} ({row.support})" for row in measured.by_class if 0 < row.support < _FEW]
    never = [row.name for row in measured.by_class if row.support and not row.predictions]
    if absent:
        yield f"No examples were measured of {_named(absent)}: nothing is known of these classes."
    if small:
        yield f"Fewer than {_FEW} examples were measured of {_named(small)}: figures by class are rough."
    if never:
        yield f"Never predicted: {_named(never)}."
    interval = measured.intervals.get("accuracy")
    if interval is not None and interval.high - interval.low > _WIDE:
        yield (
            f"The accuracy is known to {interval.high - interval.low:.1%} only, from "
            f"{measured.num_examples:,} examples."
        )
    if not measured.intervals:
        yield "No intervals were computed: how far chance moves the figures is not known."


def _always(subject: Subject) -> Iterator[str]:
    yield "Intervals are of the draw of examples alone: not of training, nor of data from elsewhere."
    yield "Groups of people or sources within the data were not told apart: figures by group are not known."
    classes = f"one of {subject.info.num_classes} classes"
    yield f"Every input is put into {classes}, also one that belongs to none of them."


def _named(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
