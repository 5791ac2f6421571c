"""What compression costs a MNIST network, and what a teacher is worth to a small one.

Run ``python benchmarks/compression.py`` from the repository; runs go below ``--dir``. Latency is that of this
machine under whatever load it has; networks take turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from _machine import versions

import nnray

JOB = Path(__file__).parent.parent / "jobs" / "mnist_cnn.yaml"
CHAINS: dict[str, dict[str, Any]] = {
    "channels, half the FLOPs": {"methods": ["channels"], "target": "flops=0.5"},
    "int8": {"methods": ["int8"]},
    "channels, int8": {"methods": ["channels", "int8"], "target": "flops=0.5"},
}
STUDENT = ["model={name: mlp, hidden: [128]}", "training.channels_last=false"]
FEW = ["data.limit=5000", "training.epochs=40"]
"""Where labels are few a teacher that has seen more is worth most; with all of them it is worth nothing."""


def main() -> None:
    """Train the network, compress it in several ways, and train students with and without it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, default=Path("runs/compression"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8, help="Of the network and of each student.")
    parser.add_argument("--tuning", type=int, default=2, help="Epochs after pruning.")
    parser.add_argument("--limit", type=int, help="Training examples; by default all.")
    given = parser.parse_args()
    print(versions("torch"))
    given.dir.mkdir(parents=True, exist_ok=True)
    places = [f"tracking.uri=sqlite:///{given.dir.absolute()}/mlflow.db", f"tracking.dir={given.dir}/runs"]
    common = [*places, f"training.epochs={given.epochs}"]
    common += [f"data.limit={given.limit}"] if given.limit else []
    teacher = nnray.train(JOB, common, once="teacher", quiet=True)
    show("teacher", dict(teacher.metrics))
    for name, options in CHAINS.items():
        made = nnray.compress(teacher, epochs=given.tuning, root=given.dir / "runs", register=None, **options)
        print(f"{name}: {json.dumps(list(made.methods))}\n{made.summary()}", flush=True)
    students(teacher.model_uri, [*common, *FEW], key="few labels", num_seeds=given.seeds)
    students(teacher.model_uri, common, key="all labels", num_seeds=given.seeds)


def students(teacher: str, common: list[str], *, key: str, num_seeds: int) -> None:
    """The same small network with and without a teacher, seed by seed."""
    loss = f"loss={{name: distillation, teacher: '{teacher}', temperature: 4, alpha: 0.9}}"
    print(key)
    gains = []
    for seed in range(num_seeds):
        alone, taught = (
            nnray.train(
                JOB, [*common, *STUDENT, f"seed={seed}", *extra], once=f"{name}-{seed}-{key}", quiet=True
            ).metrics["test_accuracy"]
            for name, extra in (("alone", []), ("taught", [loss]))
        )
        gains.append(100 * (taught - alone))
        show(f"student {seed}", {"alone": alone, "taught": taught})
    spread = statistics.stdev(gains) if len(gains) > 1 else 0.0
    print(f"a teacher gains {statistics.mean(gains):.3f} points, deviation {spread:.3f}, of {len(gains)}")


def show(name: str, values: dict[str, float]) -> None:
    """One line for what was measured."""
    print(name, json.dumps({key: round(value, 5) for key, value in values.items()}), flush=True)


if __name__ == "__main__":
    main()
