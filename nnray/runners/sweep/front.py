"""Which trials no other beats in everything: the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence

Values = Sequence[float]


def dominates(left: Values, right: Values, *, modes: Sequence[str]) -> bool:
    """Whether ``left`` is nowhere worse than ``right``, and better somewhere.

    Args:
        left: A value for each objective; none is NaN.
        right: The same of another.
        modes: ``max`` or ``min`` for each objective.
    """
    ours, theirs = (
        [-v if mode == "max" else v for v, mode in zip(x, modes, strict=True)] for x in (left, right)
    )
    return all(a <= b for a, b in zip(ours, theirs, strict=True)) and ours != theirs


def front(points: Sequence[Values], *, modes: Sequence[str]) -> list[int]:
    """Places of the points that no other dominates, in the order given."""
    return [
        place
        for place, point in enumerate(points)
        if not any(dominates(other, point, modes=modes) for other in points)
    ]
