"""What an attack came to, for people and for scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nnray.robustness.corruption import SEVERITIES, Corrupted
from nnray.runners.outcome import Outcome, near


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackOutcome(Outcome):
    """What a model withstands.

    Args:
        units: What an epsilon is measured in.
        attacks: By label: norm, epsilons, accuracies and their 95 % intervals.
        corruptions: Errors by corruption and severity; None where none were asked for.
    """

    units: str = ""
    attacks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    corruptions: Mapping[str, Any] | None = None

    def summary(self) -> str:
        """Two tables, and what was written."""
        lines = [*_attack_lines(self.attacks, self.units), *_corruption_lines(self.corruptions)]
        return "\n".join([*lines, *(f"written  {near(file)}" for file in self.files)])


def corrupted_dict(corrupted: Corrupted | None, baseline: Corrupted | None) -> dict[str, Any] | None:
    """Plain values of what corruptions did, for JSON.

    Args:
        corrupted: Of the model.
        baseline: Of another one.
    """
    if corrupted is None:
        return None
    found: dict[str, Any] = {
        "clean_error": corrupted.clean,
        "mean_error": corrupted.mean_error,
        "errors": {name: list(errors) for name, errors in corrupted.errors.items()},
    }
    if baseline is not None:
        mce, relative = corrupted.relative_to(baseline)
        found |= {"mce": mce, "relative_mce": relative, "baseline": corrupted_dict(baseline, None)}
    return found


def _attack_lines(attacks: Mapping[str, Mapping[str, Any]], units: str) -> Iterator[str]:
    if not attacks:
        return
    first = next(iter(attacks.values()))
    yield f"accuracy over epsilon ({units}), {first['num_examples']:,} examples, 95 % interval"
    for label, one in attacks.items():
        yield f"  {label}"
        for epsilon, share, (low, high) in zip(
            one["epsilons"], one["accuracies"], one["intervals"], strict=True
        ):
            yield f"    {epsilon:<8g} {share:7.2%}   {low:.2%} to {high:.2%}"
        if one["median_distance"] is not None:
            yield f"    half of the examples need a move of no more than {one['median_distance']:.3g}"


def _corruption_lines(corruptions: Mapping[str, Any] | None) -> Iterator[str]:
    if corruptions is None:
        return
    yield f"error on corrupted images (clean {corruptions['clean_error']:.2%})"
    yield "  " + " " * 16 + "".join(f"{f'level {severity}':>9}" for severity in SEVERITIES) + "     mean"
    for name, errors in corruptions["errors"].items():
        yield f"  {name:16}" + "".join(f"{error:9.2%}" for error in (*errors, _mean(errors)))
    yield f"  mean corruption error {corruptions['mean_error']:.2%}"
    for key, text in (
        ("mce", "of the baseline's (mCE)"),
        ("relative_mce", "of what the baseline's rises by"),
    ):
        if corruptions.get(key) is not None:
            yield f"  {corruptions[key]:.1%} {text}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
