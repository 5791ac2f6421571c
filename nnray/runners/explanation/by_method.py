"""One method's explanations of what is asked, and the checks of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from nnray.errors import DataError
from nnray.explainers.explainer import Explainer
from nnray.explainers.grad_cam import GradCam
from nnray.explainers.sanity import cascade, completeness_errors
from nnray.runners.explanation.asked import Asked
from nnray.runners.explanation.methods import make
from nnray.runners.kinds import require_quantities
from nnray.runners.progress import begun

CHECKED = 4
"""Examples that the check with other weights looks at: it explains each four times more."""


@dataclass(frozen=True, slots=True)
class Explained:
    """What one method found.

    Args:
        name: The method's, as files and metrics have it.
        attributions: Of the inputs' shape.
        facts: The method's keys, its layer, and what checks gave.
    """

    name: str
    attributions: Tensor
    facts: Mapping[str, Any]

    def metrics(self) -> dict[str, float]:
        """What of the checks is a number."""
        keys = ("completeness_error", "completeness_error_max")
        found = {key: self.facts[key] for key in keys if key in self.facts}
        if self.facts.get("randomised"):
            found["randomised_correlation"] = self.facts["randomised"][-1]["correlation"]
        return {f"{self.name}.{key}": value for key, value in found.items() if np.isfinite(value)}


def explain_by(method: Mapping[str, Any], asked: Asked, *, check: bool, seed: int) -> Explained:
    """Explain by one method.

    Args:
        method: Name and keys, checked.
        asked: What is explained.
        check: Whether to compare with explanations of a model with random weights.
        seed: Of what the explainer draws.

    Raises:
        ConfigError: There is no such layer.
        DataError: A plug-in's attributions are not of the inputs' shape.
        IncompatibleModel: The method can't explain such a model.
    """
    begun(f"{method['name']} of {len(asked.inputs)} example(s)")
    explainer = make(method, asked.subject.info, seed=seed)
    attributions = _attributions(explainer, asked)
    facts = {**method, **_layer(explainer, asked), **_completeness(explainer, asked, attributions)}
    if check:
        begun(f"{method['name']} of models with random weights")
        facts["randomised"] = _randomised(explainer, asked, attributions, seed=seed)
    return Explained(str(method["name"]).replace(":", "."), attributions, facts)


def _attributions(explainer: Explainer, asked: Asked) -> Tensor:
    if not getattr(explainer, "takes_codes", False):
        require_quantities(
            asked.subject.info, "this method", instead="take --method shap, which leaves inputs out"
        )
    found = explainer(asked.subject.module, asked.inputs, asked.targets)
    if not isinstance(found, Tensor) or found.shape != asked.inputs.shape:
        shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise DataError(
            f"the explainer gave {shape}, attributions of shape {list(asked.inputs.shape)} were expected"
        )
    return found.detach()


def _layer(explainer: Explainer, asked: Asked) -> dict[str, str]:
    if not isinstance(explainer, GradCam):
        return {}
    return {"layer": explainer.layer_of(asked.subject.module, asked.inputs[:1])}


def _completeness(explainer: Explainer, asked: Asked, attributions: Tensor) -> dict[str, float]:
    module, inputs, targets = asked.subject.module, asked.inputs, asked.targets
    errors = completeness_errors(explainer, module, inputs=inputs, targets=targets, attributions=attributions)
    if errors is None:
        return {}
    return {"completeness_error": float(errors.mean()), "completeness_error_max": float(errors.max())}


def _randomised(
    explainer: Explainer, asked: Asked, attributions: Tensor, *, seed: int
) -> list[dict[str, Any]]:
    stages = cascade(
        explainer,
        asked.subject.module,
        inputs=asked.inputs[:CHECKED],
        targets=asked.targets[:CHECKED],
        attributions=attributions[:CHECKED],
        seed=seed,
    )
    return [dataclasses.asdict(stage) for stage in stages]
