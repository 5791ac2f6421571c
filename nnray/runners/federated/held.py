"""What clients hold out of their examples, where those that follow each other may share values."""

from __future__ import annotations

from nnray.config import Experiment, require_federated
from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, Problem
from nnray.federated.partitions.holdout import hold_out
from nnray.federated.partitions.partition import Partition
from nnray.seeding import numpy_rng


def held_out(
    experiment: Experiment, partition: Partition, *, info: DataInfo
) -> tuple[Partition, Partition | None]:
    """Cut each client's examples in two: what it trains on, and what it is evaluated on.

    Args:
        experiment: With a ``federated`` section.
        partition: Who has which.
        info: Says whether examples share values.

    Returns:
        The parts; None for the second where nothing is held out.

    Raises:
        ConfigError: Examples share values with those of other clients.
        DataError: No client holds any out.
    """
    federated = require_federated(experiment)
    if not federated.holdout:
        return partition, None
    if info.overlap and federated.partition.name != "natural" and not federated.sites:
        problem = (
            f"examples of {info.name} overlap in time, and clients would train on what others hold out: "
            "leave it out, and choose by the validation split; or federate whole series, partition=natural"
        )
        raise ConfigError(experiment.name, [Problem("federated.holdout", problem)])
    rng = numpy_rng(experiment.seed, "holdout")
    return hold_out(partition, rng, share=federated.holdout, overlap=info.overlap)
