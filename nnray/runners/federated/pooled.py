"""What is measured of all clients' examples together, in a run where one process plays them all.

Each statistic adds up over clients, who would tell sums and counts of what they train on, and nothing else;
what they hold out has no part in it.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from nnray.data.splits import DataInfo, Examples
from nnray.data.statistics import by_channel, class_counts, of_quantities
from nnray.federated.partitions.partition import Partition
from nnray.federated.statistics import federated_moments


def pooled(info: DataInfo, train: Examples, *, population: Partition) -> DataInfo:
    """What is known of the data, its statistics those of what clients train on.

    Args:
        info: Of all training examples; what was not measured of them isn't measured here.
        train: All training examples.
        population: Who trains on which.
    """
    if info.mean:
        mean, std = of_quantities(federated_moments(train.inputs, population), info)
        info = replace(info, mean=mean, std=std)
    if info.target_std:
        target_mean, target_std = federated_moments(by_channel(train.targets), population)
        info = replace(info, target_mean=target_mean, target_std=target_std)
    own = train.targets[torch.from_numpy(population.examples)]
    if info.class_counts:
        info = replace(info, class_counts=class_counts(own, info))
    if info.target_rates:
        rates = (own == info.num_classes - 1).double().mean(0)
        info = replace(info, target_rates=tuple(rates.tolist()))
    return info
