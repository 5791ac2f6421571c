"""Attack a trained model, or corrupt what it sees, and write down what it withstands."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nnray.errors import ConfigError, DataError, Problem
from nnray.robustness.attack import Attack
from nnray.robustness.corruption import Corrupted, Corruption, corrupt_all, require_images
from nnray.robustness.curve import Robustness, attack_all, worst_of
from nnray.robustness.space import Norm, space_of
from nnray.runners.findings import Findings, findings
from nnray.runners.kinds import require_classes, require_quantities
from nnray.runners.progress import Progress
from nnray.runners.robustness.outcome import AttackOutcome, corrupted_dict
from nnray.runners.robustness.pictures import (
    corruption_picture,
    curve_picture,
    examples_picture,
    examples_table,
)
from nnray.runners.subject import Part, Subject

__all__ = ["AttackOutcome", "Request", "attack_model"]

_SHOWN = 8
_MASKED = 0.01
_USUAL: Mapping[tuple[bool, Norm], tuple[float, ...]] = {
    (True, "linf"): (0.01, 0.03, 0.1, 0.2, 0.3),
    (True, "l2"): (0.25, 0.5, 1.0, 2.0, 3.0),
    (False, "linf"): (0.05, 0.1, 0.25, 0.5, 1.0),
    (False, "l2"): (0.1, 0.25, 0.5, 1.0, 2.0),
}
"""Bounds where none are given, for images or vectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be done to a model.

    Args:
        attacks: By label.
        corruptions: By name.
        epsilons: Bounds; none: the usual ones of each norm.
        part: The split whose examples are taken.
        limit: Take its first examples only; None for all.
        batch_size: Examples at a time; None for the experiment's.
        seed: Of all draws.
        baseline: Another model, that errors on corrupted images are relative to.
    """

    attacks: Mapping[str, Attack]
    corruptions: Mapping[str, Corruption]
    epsilons: Sequence[float] = ()
    part: Part = "test"
    limit: int | None = None
    batch_size: int | None = None
    seed: int = 0
    baseline: Subject | None = None


def attack_model(
    subject: Subject, request: Request, *, root: Path = Path("runs"), out: Path | None = None
) -> AttackOutcome:
    """Measure what a model withstands; findings go to its run.

    Args:
        subject: The model.
        request: What is to be done to it.
        root: The folder of the runs' folders.
        out: Folder for files; None for a new one.

    Raises:
        ConfigError: A bound is out of its range.
        DataError: There are no such examples, or they are no images where corruptions are asked for.
    """
    began = time.perf_counter()
    _require(subject, request)
    examples = _Examples(subject, request)
    with findings(subject, "attack", root=root, out=out) as found:
        attacked = dict(_attacked(subject, request, examples))
        corrupted = _corrupted(subject, request, examples)
        metrics = _metrics(request, attacked, *corrupted)
        _write(found, request, attacked, *corrupted)
        found.metrics(metrics)
        for note in notes_of(request.attacks, attacked):
            found.note(note)
    origin = subject.origin
    return AttackOutcome(
        verb="attack",
        seconds=time.perf_counter() - began,
        run_id=origin.run_id,
        model_uri=origin.model_uri,
        model_sha256=subject.sha256,
        tracking_uri=origin.tracking_uri,
        metrics=metrics,
        files=found.files,
        units=space_of(subject.info).units,
        attacks={label: one.to_dict() for label, one in attacked.items()},
        corruptions=corrupted_dict(*corrupted),
    )


def notes_of(attacks: Mapping[str, Attack], found: Mapping[str, Robustness]) -> Iterator[str]:
    """Where an attack that sees outputs alone does better than all that follow gradients.

    Args:
        attacks: By label.
        found: What each came to.
    """
    for label, blind in found.items():
        seeing = [
            one for name, one in found.items() if not attacks[name].is_black_box and one.norm == blind.norm
        ]
        if not attacks[label].is_black_box or not seeing:
            continue
        for place, epsilon in enumerate(blind.epsilons):
            best = min(one.accuracies[place] for one in seeing)
            if blind.accuracies[place] < best - _MASKED:
                yield (
                    f"warning: at epsilon {epsilon:g} {label} leaves {blind.accuracies[place]:.1%}, "
                    f"gradients leave {best:.1%}: the gradients mislead, and their figures say too much"
                )
                break


class _Examples:
    """The examples that are taken, as often as they are asked for."""

    def __init__(self, subject: Subject, request: Request) -> None:
        self._batches = subject.batches(request.part, batch_size=request.batch_size)
        self._limit = request.limit

    def __call__(self) -> Iterator[tuple[Tensor, Tensor]]:
        left = math.inf if self._limit is None else self._limit
        for inputs, targets in self._batches.epoch(0):
            if left <= 0:
                return
            size = int(min(left, len(targets)))
            left -= size
            yield inputs[:size], targets[:size]

    @property
    def device(self) -> torch.device:
        """Where they are."""
        for inputs, _ in islice(self(), 1):
            return inputs.device
        raise DataError("there are no examples to attack: the split is empty")


def _require(subject: Subject, request: Request) -> None:
    wrong = [epsilon for epsilon in request.epsilons if not 0 <= epsilon < math.inf]
    if wrong:
        message = f"must be finite numbers from 0 on (got {', '.join(f'{value:g}' for value in wrong)})"
        raise ConfigError("attack", [Problem("epsilon", message)])
    if request.limit is not None and request.limit < 1:
        raise ConfigError("attack", [Problem("limit", f"must be an integer above 0 (got {request.limit})")])
    require_classes(subject.info, subject.task, verb="attack")
    if request.corruptions:
        require_images(subject.info)
    if request.attacks:
        require_quantities(subject.info, "attack", instead="evaluate the model on data of your own")
    if request.baseline is not None:
        _require_comparable(subject, request.baseline)


def _require_comparable(subject: Subject, baseline: Subject) -> None:
    for what in ("input_shape", "classes"):
        own, other = (tuple(getattr(one.info, what)) for one in (subject, baseline))
        if own != other:
            raise DataError(
                f"{baseline.reference} is no baseline for {subject.reference}: its {what.replace('_', ' ')} "
                f"is {list(other)}, not {list(own)}"
            )


def _attacked(subject: Subject, request: Request, examples: _Examples) -> Iterator[tuple[str, Robustness]]:
    space, is_images = space_of(subject.info), len(subject.info.input_shape) == 3
    model = subject.module.to(examples.device) if request.attacks else subject.module
    for label, attack in request.attacks.items():
        epsilons = request.epsilons or _USUAL[is_images, attack.norm]
        yield (
            label,
            attack_all(
                model,
                Progress(label, "examples").over(examples(), _size),
                attack=attack,
                epsilons=epsilons,
                space=space,
                seed=request.seed,
                keep=_SHOWN,
            ),
        )


def _corrupted(
    subject: Subject, request: Request, examples: _Examples
) -> tuple[Corrupted | None, Corrupted | None]:
    if not request.corruptions:
        return None, None
    own, other = (
        None if one is None else _corrupted_by(one, request, examples) for one in (subject, request.baseline)
    )
    return own, other


def _corrupted_by(subject: Subject, request: Request, examples: _Examples) -> Corrupted:
    progress = Progress(f"corruptions, {subject.reference}", "images")
    return corrupt_all(
        subject.module.to(examples.device),
        lambda: progress.over(examples(), _size),
        corruptions=request.corruptions,
        seed=request.seed,
    )


def _size(batch: tuple[Tensor, Tensor]) -> int:
    return len(batch[1])


def _metrics(
    request: Request,
    attacked: Mapping[str, Robustness],
    corrupted: Corrupted | None,
    baseline: Corrupted | None,
) -> dict[str, float]:
    found: dict[str, float] = {}
    together = worst_of(attacked) if len(attacked) > 1 else None
    for label, one in {**attacked, **({"all together": together} if together else {})}.items():
        for epsilon, accuracy in zip(one.epsilons, one.accuracies, strict=True):
            name = f"{label.replace(' ', '_')}.accuracy_{epsilon:g}" if epsilon else "clean_accuracy"
            found[f"{request.part}.{name}"] = accuracy
    if corrupted is not None:
        found[f"{request.part}.mean_corruption_error"] = corrupted.mean_error
        found |= {
            f"{request.part}.{name}.error": sum(errors) / len(errors)
            for name, errors in corrupted.errors.items()
        }
        for name, value in zip(("mce", "relative_mce"), _relative(corrupted, baseline), strict=True):
            if value is not None:
                found[f"{request.part}.{name}"] = value
    return found


def _relative(corrupted: Corrupted, baseline: Corrupted | None) -> tuple[float | None, float | None]:
    return (None, None) if baseline is None else corrupted.relative_to(baseline)


def _write(
    found: Findings,
    request: Request,
    attacked: Mapping[str, Robustness],
    corrupted: Corrupted | None,
    baseline: Corrupted | None,
) -> None:
    info, folder = found.subject.info, found.folder
    told: dict[str, Any] = {
        "part": request.part,
        "limit": request.limit,
        "seed": request.seed,
        "units": space_of(info).units,
        "attacks": {label: one.to_dict() for label, one in attacked.items()},
        "corruptions": corrupted_dict(corrupted, baseline),
    }
    found.text(json.dumps(told, indent=2, allow_nan=False), "attack.json")
    if attacked:
        found.file(curve_picture(attacked, folder / "robust_accuracy.png", units=told["units"]))
    for label, one in attacked.items():
        name = label.replace(" ", "_").replace(":", "_").replace(",", "_")
        if not one.examples:
            continue
        if len(info.input_shape) == 3:
            found.file(examples_picture(one, folder / f"examples_{name}.png", classes=info.classes))
        else:
            found.text(examples_table(one, classes=info.classes), f"examples_{name}.txt")
    if corrupted is not None:
        found.file(corruption_picture(corrupted, baseline, path=folder / "corruptions.png"))
