"""Explains, checks the explanations, draws them, and records all of it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nnray.errors import ConfigError, DataError, Problem, suggestion
from nnray.explainers.explainer import Explainer
from nnray.explainers.grad_cam import GradCam
from nnray.explainers.sanity import cascade, completeness_errors
from nnray.runners.explanation.chosen import Chosen, filled
from nnray.runners.explanation.methods import make
from nnray.runners.findings import Findings, findings
from nnray.runners.outcome import Outcome, plain
from nnray.runners.subject import Subject

CHECKED = 4
"""Examples that the check with other weights looks at: it explains each four times more."""
ALIKE = 0.95
"""From this rank correlation on, an explanation hardly depends on what was learnt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation(Outcome):
    """What a model rests its answers on.

    Args:
        examples: Name, right class, the model's and the explained class of each, and the model's confidence.
        methods: What was found of each explainer: its keys, its layer, its checks.
        attributions: By method, of the inputs' shape; in the file ``attributions.npz``, too.
    """

    examples: list[Mapping[str, Any]]
    methods: Mapping[str, Mapping[str, Any]]
    attributions: Mapping[str, Tensor] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them; attributions are in their file."""
        return {
            name: plain(getattr(self, name)) for name in self.__dataclass_fields__ if name != "attributions"
        }

    def summary(self) -> str:
        """What was found, for people."""
        rows = [
            f"{one['name']}: {one['predicted']} ({one['confidence']:.1%})"
            + (f", is {one['label']}" if one["label"] is not None else "")
            + (f", explained: {one['target']}" if one["target"] != one["predicted"] else "")
            for one in self.examples
        ]
        told = [f"{name}: {words(found)}" for name, found in self.methods.items()]
        return "\n".join([*rows, *told, *(f"written  {file}" for file in self.files)])


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
    # Wanted before anything takes time: that no class is named so.
    label = None if target is None else _label(target, subject.info.classes)
    inputs = filled(chosen.inputs, subject.info)
    answers = _answers(subject, inputs)
    targets = answers.argmax(1) if label is None else torch.full((len(inputs),), label)
    examples = _examples(subject, chosen, answers=answers, targets=targets)
    with findings(subject, "explain", root=root, out=out) as found:
        attributions: dict[str, Tensor] = {}
        told: dict[str, dict[str, Any]] = {}
        for method in methods:
            explainer, name = make(method, subject.info, seed=seed), str(method["name"]).replace(":", ".")
            attributions[name] = _explained(explainer, subject, inputs=inputs, targets=targets)
            facts = _facts(
                explainer, subject, inputs=inputs, targets=targets, attributions=attributions[name]
            )
            if check:
                facts["randomised"] = _stages(
                    explainer,
                    subject,
                    inputs=inputs[:CHECKED],
                    targets=targets[:CHECKED],
                    attributions=attributions[name][:CHECKED],
                    seed=seed,
                )
            told[name] = {**method, **facts}
        _write(found, subject, inputs=inputs, examples=examples, told=told, attributions=attributions)
        metrics = _metrics(told)
        found.metrics(metrics)
        files = found.files
    origin = subject.origin
    return Explanation(
        verb="explain",
        seconds=time.monotonic() - began,
        run_id=origin.run_id,
        model_uri=origin.model_uri,
        model_sha256=subject.sha256,
        tracking_uri=origin.tracking_uri,
        metrics=metrics,
        files=files,
        examples=examples,
        methods=told,
        attributions=attributions,
    )


def words(found: Mapping[str, Any]) -> str:
    """What was found of an explainer, for people."""
    parts = [f"layer {found['layer']}"] if "layer" in found else []
    if "completeness_error" in found:
        parts.append(
            f"adds up to the gain in score within {found['completeness_error']:.2%} on average, "
            f"{found['completeness_error_max']:.2%} at worst"
        )
    if found.get("randomised"):
        last = found["randomised"][-1]["correlation"]
        parts.append(f"rank correlation {last:.2f} with that of random weights")
        if last > ALIKE:
            parts.append("so it hardly depends on what was learnt: don't trust it")
    return "; ".join(parts) or "done"


def _label(target: str, classes: Sequence[str]) -> int:
    if target not in classes:
        message = f"the model knows no class {target!r}; {suggestion(target, classes)}"
        raise ConfigError("explain", [Problem("target", message)])
    return list(classes).index(target)


def _answers(subject: Subject, inputs: Tensor) -> Tensor:
    with torch.inference_mode():
        logits = torch.cat([subject.module(block) for block in torch.split(inputs, 64)])
    if not logits.isfinite().all():
        raise DataError(
            f"{subject.reference}: its answers are not finite numbers: there is nothing to explain"
        )
    return logits.float().softmax(1).clone()


def _examples(
    subject: Subject, chosen: Chosen, *, answers: Tensor, targets: Tensor
) -> list[Mapping[str, Any]]:
    classes, (confidence, predicted) = subject.info.classes, answers.max(1)
    return [
        {
            "name": name,
            "label": None if chosen.labels is None else classes[int(chosen.labels[row])],
            "predicted": classes[int(predicted[row])],
            "confidence": float(confidence[row]),
            "target": classes[int(targets[row])],
        }
        for row, name in enumerate(chosen.names)
    ]


def _explained(explainer: Explainer, subject: Subject, *, inputs: Tensor, targets: Tensor) -> Tensor:
    found = explainer(subject.module, inputs, targets)
    if not isinstance(found, Tensor) or found.shape != inputs.shape:
        shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise DataError(
            f"the explainer gave {shape}, attributions of shape {list(inputs.shape)} were expected"
        )
    return found.detach()


def _facts(
    explainer: Explainer, subject: Subject, *, inputs: Tensor, targets: Tensor, attributions: Tensor
) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    if isinstance(explainer, GradCam):
        facts["layer"] = explainer.layer_of(subject.module, inputs[:1])
    errors = completeness_errors(
        explainer, subject.module, inputs=inputs, targets=targets, attributions=attributions
    )
    if errors is not None:
        facts |= {"completeness_error": float(errors.mean()), "completeness_error_max": float(errors.max())}
    return facts


def _stages(
    explainer: Explainer,
    subject: Subject,
    *,
    inputs: Tensor,
    targets: Tensor,
    attributions: Tensor,
    seed: int,
) -> list[dict[str, Any]]:
    stages = cascade(
        explainer, subject.module, inputs=inputs, targets=targets, attributions=attributions, seed=seed
    )
    return [
        {"layers": stage.layers, "first": stage.first, "correlation": stage.correlation} for stage in stages
    ]


def _metrics(told: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """What of the checks is a number."""
    metrics: dict[str, float] = {}
    for name, facts in told.items():
        keys = ("completeness_error", "completeness_error_max")
        metrics |= {f"{name}.{key}": facts[key] for key in keys if key in facts}
        if facts.get("randomised"):
            metrics[f"{name}.randomised_correlation"] = facts["randomised"][-1]["correlation"]
    return {key: value for key, value in metrics.items() if np.isfinite(value)}


def _write(
    found: Findings,
    subject: Subject,
    *,
    inputs: Tensor,
    examples: Sequence[Mapping[str, Any]],
    told: Mapping[str, Mapping[str, Any]],
    attributions: Mapping[str, Tensor],
) -> None:
    from nnray.runners.explanation import pictures

    for name, values in attributions.items():
        path = found.folder / f"{name}.png"
        pictures.draw(path, subject, inputs=inputs, examples=examples, attributions=values, name=name)
        found.file(path)
    arrays: dict[str, Any] = {name: values.numpy() for name, values in attributions.items()}
    arrays |= {"inputs": inputs.numpy(), "names": np.array([example["name"] for example in examples])}
    path = found.folder / "attributions.npz"
    np.savez_compressed(path, **arrays)
    found.file(path)
    text = json.dumps({"examples": examples, "methods": told}, indent=2, default=str)
    found.text(text.replace("NaN", "null"), "explanation.json")
