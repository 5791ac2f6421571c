"""Claim: PGD breaks a plain MNIST network at epsilon 0.3 (under 10 %), and not one trained against it (80 %).

Each model, by any name that it has, meets PGD in linf on the first 1,000 test images, with 40 steps of
2.5 / 40 of epsilon from one random start; with --harder also 5 starts, PGD in l2, DeepFool and 1,000 queries
of the Square Attack, which would show gradients that mislead. Nothing is recorded in the models' runs.

    nnray train jobs/mnist_cnn.yaml; nnray train jobs/mnist_robust.yaml
    NNRAY_DATA=... python benchmarks/attack.py mnist_cnn mnist_robust --harder
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from _machine import row

if TYPE_CHECKING:
    from torch import Tensor

    from nnray.robustness.attack import Attack
    from nnray.runners.subject import Subject

EPSILONS = {"linf": (0.1, 0.2, 0.3), "l2": (1.0, 2.0, 3.0)}
BROKEN, HELD = 0.10, 0.80
IMAGES = 1000


def attacks(*, harder: bool) -> dict[str, Attack]:
    """Attacks by how a row names them."""
    from nnray.robustness.gradient import pgd
    from nnray.robustness.minimal import deepfool
    from nnray.robustness.square import square

    found = {"pgd linf, 40 steps": pgd(steps=40)}
    if harder:
        found |= {
            "pgd linf, 40 steps, 5 starts": pgd(steps=40, restarts=5),
            "square linf, 1000 queries": square(queries=1000),
            "deepfool linf": deepfool(norm="linf"),
            "pgd l2, 40 steps": pgd(norm="l2", steps=40),
        }
    return found


def examples(subject: Subject, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The first test examples."""
    batches = list(subject.batches("test", batch_size=250).epoch(0))
    ends = accumulate(len(targets) for _, targets in batches)
    for (inputs, targets), end in zip(batches, ends, strict=True):
        kept = len(targets) - max(0, end - count)
        if kept > 0:
            yield inputs[:kept], targets[:kept]


def measured(subject: Subject, attack: Attack, *, count: int) -> list[float]:
    """Accuracy at epsilon 0 and at each bound."""
    from nnray.robustness.curve import attack_all
    from nnray.robustness.space import space_of

    batches = list(examples(subject, count))
    space, epsilons = space_of(subject.info), EPSILONS[attack.norm]
    model = subject.module.to(batches[0][0].device)
    found = attack_all(model, batches, attack=attack, epsilons=epsilons, space=space, seed=0)
    return list(found.accuracies)


def main() -> None:
    """Attack each model, and print rows for jobs/LOG.md."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+")
    parser.add_argument("--dir", type=Path, default=Path("runs"))
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--harder", action="store_true")
    options = parser.parse_args()

    from nnray.runners.subject import open_subject

    for reference in options.models:
        subject = open_subject(reference, root=options.dir)
        for name, attack in attacks(harder=options.harder).items():
            began = time.perf_counter()
            shares = measured(subject, attack, count=options.images)
            cells = [f"{share:.1%}" for share in shares]
            told = (
                f"{subject.experiment.name}, {name}, epsilon 0, {', '.join(map(str, EPSILONS[attack.norm]))}"
            )
            print(row(told, *cells, f"{time.perf_counter() - began:.0f} s"), flush=True)
            if name == "pgd linf, 40 steps":
                last = shares[-1]
                verdict = "broken" if last < BROKEN else "held" if last > HELD else "between"
                print(f"{subject.experiment.name}: {last:.1%} at epsilon 0.3: {verdict}", flush=True)


if __name__ == "__main__":
    main()
