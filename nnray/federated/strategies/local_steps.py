"""How far the steps of a client's SGD reach: what its change is to be divided by to be a mean gradient."""

from __future__ import annotations

from functools import lru_cache

from nnray.errors import ConfigError, Problem


@lru_cache(maxsize=1024)
def reach(num_steps: int, *, momentum: float = 0.0, damping: float = 0.0) -> float:
    """The change, in learning rates, that gradients of 1 in every step make.

    Without momentum and damping it is the number of steps.

    Args:
        num_steps: Steps taken.
        momentum: Of SGD.
        damping: Learning rate times the strength of a proximal pull.

    Raises:
        ConfigError: The pull is so strong that the steps run away.

    Source:
        The sum of the vector a_i of Wang et al. 2020, section 4.1, whose examples are momentum,
        ``(1 - momentum ** j) / (1 - momentum)``, and a proximal pull, ``(1 - damping) ** (num_steps - j)``;
        run as the recurrence of both together.
    """
    assert num_steps >= 0
    change = velocity = 0.0
    for _ in range(num_steps):
        velocity = momentum * velocity + 1.0 - damping * change
        change += velocity
    if num_steps and not 0.0 < change < float("inf"):
        text = f"lr * mu is {damping:g}, so that clients' steps run away; it must be under 1: lower mu or lr"
        raise ConfigError("experiment", [Problem("federated.strategy.mu", text)])
    return change
