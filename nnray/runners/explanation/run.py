"""Explains by several methods, draws the explanations, and records all of it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnray.runners.explanation.asked import Asked, ask
from nnray.runners.explanation.by_method import Explained, explain_by
from nnray.runners.explanation.chosen import Chosen
from nnray.runners.explanation.result import Explanation
from nnray.runners.findings import Findings, findings
from nnray.runners.kinds import require_classes
from nnray.runners.outcome import plain
from nnray.runners.subject import Subject


def explain(
    subject: Subject,
    chosen: Chosen,
    *,
    methods: Sequence[Mapping[str, Any]],
    target: str | None = None,
    check: bool = True,
    seed: int = 0,
    root: Path = Path("runs"),
    out: Path | None = None,
) -> Explanation:
    """Say which values of some inputs the model's answers rest on.

    Args:
        subject: The model.
        chosen: The inputs.
        methods: Names and keys of explainers, checked.
        target: Name of the class to be explained; None for the one that the model gives each input.
        check: Whether to compare with explanations of a model with random weights.
        seed: Of what explainers draw.
        root: The folder of the runs' folders.
        out: For files; None for a new folder of the run's.

    Raises:
        ConfigError: There is no such class, or layer.
        DataError: The model's answer is not a number.
        IncompatibleModel: A method can't explain such a model.
    """
    began = time.monotonic()
    require_classes(subject.info, subject.task, verb="explain")
    asked = ask(subject, chosen, target=target)
    with findings(subject, "explain", root=root, out=out) as found:
        explained = [explain_by(method, asked, check=check, seed=seed) for method in methods]
        metrics = {key: value for one in explained for key, value in one.metrics().items()}
        _write(found, asked, explained)
        found.metrics(metrics)
    origin = subject.origin
    return Explanation(
        verb="explain",
        seconds=time.monotonic() - began,
        run_id=origin.run_id,
        model_uri=origin.model_uri,
        model_sha256=subject.sha256,
        tracking_uri=origin.tracking_uri,
        metrics=metrics,
        files=found.files,
        examples=asked.examples,
        methods={one.name: one.facts for one in explained},
        attributions={one.name: one.attributions for one in explained},
    )


def _write(found: Findings, asked: Asked, explained: Sequence[Explained]) -> None:
    from nnray.runners.explanation import pictures

    for one in explained:
        path = found.folder / f"{one.name}.png"
        pictures.draw(path, asked, attributions=one.attributions, name=one.name)
        found.file(path)
    found.file(_arrays(found.folder / "attributions.npz", asked, explained))
    told = plain({"examples": asked.examples, "methods": {one.name: one.facts for one in explained}})
    found.text(json.dumps(told, indent=2, allow_nan=False, default=str), "explanation.json")


def _arrays(path: Path, asked: Asked, explained: Sequence[Explained]) -> Path:
    arrays: dict[str, Any] = {one.name: one.attributions.numpy() for one in explained}
    names = np.array([example["name"] for example in asked.examples])
    np.savez_compressed(path, **arrays, inputs=asked.inputs.numpy(), names=names)
    return path
