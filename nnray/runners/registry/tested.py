"""A model measured on its test split, with what tells whether another one was measured on the same.

Examples are known by their values and the name of their class, so that neither their order, nor that of
the classes, nor how they are stored counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from nnray.evaluation.evaluate import evaluate
from nnray.runners.subject import Subject
from nnray.training.device import find_device

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Figures:
    """What a model came to on its test split.

    Args:
        metrics: ``test_accuracy`` and the others.
        digest: SHA-256 over the examples, whatever their order.
        num_examples: How many.
        classes: Names.
    """

    metrics: Mapping[str, float]
    digest: str
    num_examples: int
    classes: tuple[str, ...]

    def difference(self, other: Figures) -> str:
        """Why two models' figures can't be compared, in words; empty where they can."""
        if set(self.classes) != set(other.classes):
            extra, missing = (
                _listed(set(a) - set(b))
                for a, b in ((self.classes, other.classes), (other.classes, self.classes))
            )
            parts = [f"{word} {names}" for word, names in (("has", extra), ("lacks", missing)) if names]
            return f"it knows other classes: {', '.join(parts)}"
        if self.digest != other.digest:
            return (
                f"its test split has other examples: {self.num_examples:,} with SHA-256 {self.digest[:12]}, "
                f"not {other.num_examples:,} with {other.digest[:12]}"
            )
        return ""


def run_test(subject: Subject) -> Figures:
    """Measure a model on its test split, in full precision.

    Raises:
        DataError: There is none, or its data are not here.
    """
    device = find_device(subject.experiment.training.device)
    keys: list[bytes] = []
    batches = subject.batches("test").epoch(0)
    sums = evaluate(subject.module.to(device), _seen(batches, subject.info.classes, keys=keys), subject.task)
    metrics = {f"test_{name}": value for name, value in subject.task.summarize(sums).items()}
    digest = hashlib.sha256(b"".join(sorted(keys))).hexdigest()
    return Figures(metrics, digest, len(keys), subject.info.classes)


def _seen(
    batches: Iterable[tuple[Tensor, Tensor]], classes: tuple[str, ...], *, keys: list[bytes]
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches, with a key of each example left behind."""
    for inputs, targets in batches:
        rows = inputs.detach().cpu().contiguous().flatten(1).numpy()
        labels = targets.detach().cpu()
        names = [classes[label] if labels.ndim == 1 else str(label) for label in labels.tolist()]
        shape = repr(tuple(inputs.shape[1:]))
        for row, name in zip(rows, names, strict=True):
            key = hashlib.blake2b(f"{shape}{name}\0".encode(), digest_size=16)
            key.update(row.data)
            keys.append(key.digest())
        yield inputs, targets


def _listed(names: set[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return ", ".join(map(repr, ordered[:_SHOWN])) + more
