"""From inputs to answers: in this process, or over a Ray cluster, with the same result."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from nnray.data.inputs import Inputs
from nnray.errors import ConfigError, Problem
from nnray.runners.outcome import Outcome, near
from nnray.runners.prediction.answers import (
    Answers,
    Array,
    Numbers,
    answered,
    bounded,
    outputs_of,
    require_finite,
)
from nnray.runners.prediction.kinds import require_answers
from nnray.runners.prediction.write import Format, Write, format_of, writing
from nnray.runners.store import say
from nnray.runners.subject import Subject
from nnray.training.device import find_device

_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions(Outcome):
    """What a model said of inputs.

    Args:
        rows: Inputs.
        by_class: How many of them are of each class that came up; empty for numbers.
        unreadable: What was passed over, with the reason.
        answers: Name, label, class and confidence of each, or name and prediction, where they were not
            written.
    """

    rows: int
    by_class: Mapping[str, int]
    unreadable: list[str]
    answers: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them; answers only where they were kept."""
        told = Outcome.to_dict(self)
        return told if self.answers else {key: value for key, value in told.items() if key != "answers"}

    def summary(self) -> str:
        """How many inputs are of which class, or how many there are."""
        width = max(map(len, self.by_class), default=0)
        shown = [f"{name:{width}}  {count}" for name, count in self.by_class.items()]
        shown = shown or [f"inputs   {self.rows}"]
        passed = [f"passed over  {len(self.unreadable)}"] if self.unreadable else []
        return "\n".join([*shown, *passed, *(f"written  {near(file)}" for file in self.files)])


def predict(
    subject: Subject,
    inputs: Inputs,
    *,
    out: Path | TextIO | None = None,
    file_format: Format | None = None,
    batch_size: int = 256,
    probabilities: bool = False,
    threshold: float | None = None,
    on_ray: bool = False,
) -> Predictions:
    """Classify inputs, or give a number for each, in their order and in bounded memory.

    Args:
        subject: The model.
        inputs: What is asked about.
        out: Where answers go; None keeps them, for few.
        file_format: How they are written; None reads it off the name of ``out``.
        batch_size: Inputs at a time.
        probabilities: Whether to give those of all classes.
        threshold: Of two classes: from which probability on the second is told; None for the likelier.
        on_ray: Whether to use the Ray cluster at ``RAY_ADDRESS``, or all cores of this machine.

    Raises:
        DataError: Inputs can't be read; nothing is written.
        RunError: The model gives no numbers.
        ConfigError: Answers can't be written so.
    """
    started = time.monotonic()
    if batch_size < 1:
        raise _wrong("batch_size", f"must be an integer above 0 (got {batch_size})")
    classes = require_answers(subject, threshold=threshold, probabilities=probabilities)
    found = format_of(out, file_format)
    if isinstance(out, Path):
        _require_apart(out, inputs)
    tally = _Tally(probabilities=probabilities, keeps=out is None)
    with ExitStack() as stack:
        writes: list[Write] = [tally.add]
        if out is not None:
            form = writing(out, file_format=found, classes=classes, probabilities=probabilities)
            writes.append(stack.enter_context(form))
        for names, outputs in _outputs(subject, inputs, batch_size=batch_size, on_ray=on_ray):
            told = outputs if classes else bounded(subject.task, outputs)
            answers = answered(names, told, classes=classes, threshold=threshold)
            require_finite(answers, reference=subject.reference)
            for write in writes:
                write(answers)
    return Predictions(
        verb="predict",
        seconds=time.monotonic() - started,
        run_id=subject.origin.run_id,
        model_uri=subject.origin.model_uri,
        model_sha256=subject.sha256,
        tracking_uri=subject.origin.tracking_uri,
        files=[str(out)] if isinstance(out, Path) else [],
        rows=tally.rows,
        by_class={classes[label]: count for label, count in sorted(tally.counts.items())},
        unreadable=_told(inputs),
        answers=tally.kept,
    )


@dataclass(slots=True)
class _Tally:
    """What has been answered, and the answers themselves where they are kept."""

    probabilities: bool
    keeps: bool
    rows: int = 0
    counts: Counter[int] = field(default_factory=Counter)
    kept: list[dict[str, Any]] = field(default_factory=list)

    def add(self, answers: Answers | Numbers) -> None:
        self.rows += len(answers.names)
        self.counts.update(answers.labels.tolist() if isinstance(answers, Answers) else [])
        if self.keeps:
            self.kept += answers.rows(probabilities=self.probabilities)


def _outputs(
    subject: Subject, inputs: Inputs, *, batch_size: int, on_ray: bool
) -> Iterator[tuple[list[str], Array]]:
    """Names of inputs and what the model gives for them, in parts."""
    if on_ray:
        from nnray.runners.prediction import distributed

        yield from distributed.outputs_of(subject, inputs, batch_size=batch_size)
        return
    device = find_device(subject.experiment.training.device)
    module = subject.module.to(device).eval()
    for block in inputs:
        yield block.names, outputs_of(module, block.inputs, batch_size=batch_size, device=device)


def _told(inputs: Inputs) -> list[str]:
    """What was passed over; a person is told of it, and of what had to be changed."""
    for words in inputs.tally.words():
        say(f"note: {words}")
    told = [str(each) for each in inputs.tally.unreadable]
    if told:
        more = f"\n  ... and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
        say(f"passed over {len(told)} input(s):\n  " + "\n  ".join(told[:_SHOWN]) + more)
    return told


def _require_apart(out: Path, inputs: Inputs) -> None:
    """Refuse to write over an input, or to where the next prediction would read it as one."""
    place = out.absolute().resolve()
    for path in inputs.paths:
        if place.is_relative_to(Path(path).resolve()):
            raise _wrong(
                "out", f"is {str(out)!r}, and inputs are read from {path}: name a place outside of it"
            )
    if place.is_dir():
        raise _wrong("out", f"is a folder, {out}; name a file in it")


def _wrong(path: str, message: str) -> ConfigError:
    return ConfigError("predict", [Problem(path, message)])
