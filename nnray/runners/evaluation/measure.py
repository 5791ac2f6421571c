"""All figures of a model on some examples, as plain values that JSON holds: ``report.json``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from nnray.evaluation.bootstrap import Interval, bootstrap
from nnray.evaluation.calibration import Reliability, Temperature, reliability
from nnray.evaluation.curves import Curve, pr_curves, roc_curves
from nnray.evaluation.predictions import Predictions
from nnray.evaluation.scores import ClassScores, areas_by_class, confusion_matrix, score, score_classes
from nnray.evaluation.wrong import WrongExample, most_wrong

_CURVES = 20


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Measured:
    """What was measured.

    Args:
        classes: Names, by label.
        num_examples: How many.
        metrics: Name to value; NaN where undefined.
        by_class: By label.
        confusion: Counts by target and prediction.
        intervals: Of some metrics.
        reliability: As used.
        uncalibrated: Before the temperature, where there is one.
        temperature: What logits were divided by.
        threshold: Of two classes; None for the likelier one.
        wrong: The worst mistakes.
        roc: By class.
        pr: By class.
    """

    classes: tuple[str, ...]
    num_examples: int
    metrics: dict[str, float]
    by_class: list[ClassScores]
    confusion: list[list[int]]
    intervals: dict[str, Interval]
    reliability: Reliability
    uncalibrated: Reliability | None = None
    temperature: Temperature | None = None
    threshold: float | None = None
    wrong: list[WrongExample] = field(default_factory=list)
    roc: list[Curve] = field(default_factory=list)
    pr: list[Curve] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it: curves thinned, and those of 20 classes at most; undefined values are null."""
        uncalibrated = None if self.uncalibrated is None else self.uncalibrated.to_dict()
        found = {
            "classes": list(self.classes),
            "num_examples": self.num_examples,
            "metrics": self.metrics,
            "by_class": [asdict(row) for row in self.by_class],
            "confusion": self.confusion,
            "intervals": {name: asdict(interval) for name, interval in self.intervals.items()},
            "reliability": self.reliability.to_dict(),
            "reliability_before": uncalibrated,
            "temperature": None if self.temperature is None else asdict(self.temperature),
            "threshold": self.threshold,
            "wrong": [asdict(example) for example in self.wrong],
            "roc": [curve.thinned().to_dict() for curve in self.roc[:_CURVES]],
            "pr": [curve.thinned().to_dict() for curve in self.pr[:_CURVES]],
        }
        plain: dict[str, Any] = _finite(found)
        return plain


def measure(
    predictions: Predictions,
    classes: Sequence[str],
    *,
    top_k: Sequence[int],
    resamples: int,
    seed: int,
    wrong: int,
    temperature: Temperature | None = None,
) -> Measured:
    """Take all figures.

    Args:
        predictions: As the model gives them.
        classes: Names, by label.
        top_k: For top-k accuracy.
        resamples: Of the bootstrap; 0 for no intervals.
        seed: Of its draws.
        wrong: How many mistakes are kept.
        temperature: To divide logits by first.
    """
    used = predictions if temperature is None else predictions.scaled(temperature.value)
    areas, calibration = areas_by_class(used), reliability(used)
    metrics = score(used, top_k=top_k, areas=areas) | {"ece": calibration.ece, "mce": calibration.mce}
    uncalibrated = None
    if temperature is not None:
        uncalibrated = reliability(predictions)
        before = {"log_loss": float(predictions.losses.mean()), "ece": uncalibrated.ece}
        metrics |= {f"{name}_before": value for name, value in before.items()}
        metrics["temperature"] = temperature.value
    return Measured(
        classes=tuple(classes),
        num_examples=len(used),
        metrics=metrics,
        by_class=score_classes(used, classes, areas=areas),
        confusion=confusion_matrix(used).tolist(),
        intervals=bootstrap(used, seed=seed, resamples=resamples, metrics=metrics) if resamples else {},
        reliability=calibration,
        uncalibrated=uncalibrated,
        temperature=temperature,
        threshold=used.threshold,
        wrong=most_wrong(used, count=wrong),
        roc=roc_curves(used),
        pr=pr_curves(used),
    )


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
