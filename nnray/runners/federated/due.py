"""Whether every part of a network that learns in turn comes to its turn at some client."""

from __future__ import annotations

from nnray.config import Experiment
from nnray.errors import ConfigError, Problem
from nnray.federated.local import LocalTraining, pulls_of
from nnray.federated.strategy import Strategy
from nnray.federated.weights import FlatModel


def require_due(
    experiment: Experiment, strategy: Strategy, *, local: LocalTraining, flat: FlatModel, largest: int
) -> None:
    """Check that no part waits for more batches than any client has in a round: they count anew in each.

    Args:
        experiment: With a ``federated`` section.
        strategy: Says how long clients train.
        local: How they do.
        flat: The model with its first weights.
        largest: Examples of the largest client.

    Raises:
        ConfigError: One would never learn.
    """
    pulls = pulls_of(strategy, local, params=flat.params, num_examples=largest)
    most = max(local.lasting(pull).num_steps(largest) for pull in pulls)
    if rare := [turn for turn in local.turns if turn.every > most]:
        problem = (
            f"{rare[0].part} learns from one in {rare[0].every} batches of a client in a round, and a client "
            f"has {most} at most: raise local_epochs, or lower batch_size or what says how often it learns"
        )
        raise ConfigError(experiment.name, [Problem("federated", problem)])
