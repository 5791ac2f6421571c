"""What explanations came to, for people and scripts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from nnray.runners.outcome import Outcome, near, plain

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
        return "\n".join([*rows, *told, *(f"written  {near(file)}" for file in self.files)])


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
