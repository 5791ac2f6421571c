"""What an experiment puts around its strategy, from the inside out: a thin link, privacy, a rule, lies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nnray.assembly import private_seed
from nnray.config import Experiment, FederatedConfig
from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, Problem
from nnray.federated.aggregation import robust
from nnray.federated.aggregation.aggregator import Aggregator
from nnray.federated.attacks import attacked
from nnray.federated.attacks.attack import Attack, draw_attackers
from nnray.federated.codecs.compressed import Compressed
from nnray.federated.holdings import Alter
from nnray.federated.partitions.partition import Partition
from nnray.federated.strategy import Strategy
from nnray.federated.weights import Slot
from nnray.privacy.client import Noise, Private
from nnray.privacy.clipping import Clipping
from nnray.registry import build
from nnray.runners.federated.guarantee import Guarantee


class Wrapping(Protocol):
    """What is asked of a run's setting."""

    @property
    def experiment(self) -> Experiment:
        """That is run."""

    @property
    def federated(self) -> FederatedConfig:
        """Its section."""

    @property
    def info(self) -> DataInfo:
        """Of the data."""

    @property
    def population(self) -> Partition:
        """Who trains on which examples."""

    @property
    def guarantee(self) -> Guarantee | None:
        """What is promised to each client."""


def wrapped(strategy: Strategy, setting: Wrapping, *, slots: Sequence[Slot], size: int) -> Strategy:
    """The strategy with all that the experiment puts around it.

    What is clipped is what arrives over a thin link: nothing that comes after the clip makes it longer.
    Attackers are outside of everything, and obey nothing.

    Args:
        strategy: As the catalog has it.
        setting: Of the run.
        slots: The model's parameters.
        size: Length of a vector of them.

    Raises:
        ConfigError: It can't be put around it.
    """
    federated, seed = setting.federated, setting.experiment.seed
    if federated.codec is not None:
        codec = build("codec", federated.codec, slots=slots)
        if federated.secure is not None and not codec.shared_indices:
            message = "each client sends other entries, and masks cover all of them: take random_k"
            raise ConfigError(setting.experiment.name, [Problem("federated.codec", message)])
        strategy = Compressed(strategy, codec, slots=slots, seed=seed)
    if setting.guarantee is not None:
        strategy = _private(strategy, setting, setting.guarantee, slots=slots, size=size)
    if (rule := aggregator_of(setting)) is not None:
        _refuse(setting, "federated.aggregator", robust.problems(strategy, size=size))
        strategy = robust.Robust(strategy, rule)
    if (attack := attack_of(setting)) is not None:
        _refuse(setting, "federated.attack", attacked.problems(strategy, attack))
        strategy = attacked.Attacked(strategy, attack, attackers=attackers_of(setting))
    return strategy


def aggregator_of(setting: Wrapping) -> Aggregator | None:
    """The robust rule; None for the mean."""
    component = setting.federated.aggregator
    if component is None or component.name == "mean":
        return None
    rule: Aggregator = build("aggregator", component)
    return rule


def attack_of(setting: Wrapping) -> Attack | None:
    """What attackers do; None where there are none."""
    section = setting.federated.attack
    if section is None:
        return None
    attack: Attack = build("client_attack", section.component, setting.info, seed=setting.experiment.seed)
    return attack


def attackers_of(setting: Wrapping) -> NDArray[np.bool_]:
    """Whether each client attacks."""
    section, rule = setting.federated.attack, aggregator_of(setting)
    assert section is not None, "asked for where there is an attack"
    return draw_attackers(
        len(setting.population),
        fraction=section.fraction,
        seed=setting.experiment.seed,
        honest=() if rule is None or rule.root is None else (rule.root,),
    )


def altered(setting: Wrapping, before: Alter | None) -> Alter | None:
    """What is done to clients' examples, with what attackers do to theirs."""
    attack = attack_of(setting)
    if attack is None:
        return before
    return attacked.altered_examples(attack, attackers=attackers_of(setting), before=before)


def _private(
    strategy: Strategy, setting: Wrapping, guarantee: Guarantee, *, slots: Sequence[Slot], size: int
) -> Private:
    privacy = guarantee.privacy
    quantile = 0.5 if privacy.quantile is None else privacy.quantile
    return Private(
        strategy,
        clipping=Clipping(norm=privacy.clip_norm, by=privacy.clipping, quantile=quantile),
        noise=Noise(
            multiplier=guarantee.phase.noise_multiplier,
            cohort=guarantee.cohort,
            at=privacy.noise_at,
            least_clients=setting.federated.min_updates,
            trees=guarantee.phase.trees,
        ),
        seed=private_seed(setting.experiment, setting.info),
        slots=slots,
        size=size,
    )


def _refuse(setting: Wrapping, path: str, problems: Iterable[str]) -> None:
    name = setting.federated.strategy.name
    if found := [Problem(path, f"can't go around strategy {name!r}: {problem}") for problem in problems]:
        raise ConfigError(setting.experiment.name, found)
