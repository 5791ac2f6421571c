"""What an experiment can't have where only a part of a network is trained, or at several rates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from nnray.config.federated import FederatedConfig
from nnray.config.privacy import PrivacyConfig
from nnray.config.sections import ModelConfig, OptimizerConfig, ParallelConfig
from nnray.errors import Problem


class Asking(Protocol):
    """An experiment, as far as this is about it."""

    @property
    def model(self) -> ModelConfig:
        """Its network."""

    @property
    def optimizer(self) -> OptimizerConfig:
        """Its optimizer."""

    @property
    def parallel(self) -> ParallelConfig | None:
        """Its workers."""

    @property
    def federated(self) -> FederatedConfig | None:
        """Its clients."""

    @property
    def privacy(self) -> PrivacyConfig | None:
        """Its privacy."""


def transfer_problems(made: Asking) -> Iterator[Problem]:
    """All that freezing and rates by layer rule out in an experiment.

    Args:
        made: Whole, but for this check.
    """
    asked = {"model.freeze": bool(made.model.freeze), "optimizer.lr_scale": bool(made.optimizer.lr_scale)}
    if made.model.init_skip and made.model.init_from is None:
        yield Problem("model.init_skip", "says what not to take from a model: name one by model.init_from")
    for path in (path for path, is_asked in asked.items() if is_asked):
        if made.federated is not None:
            advice = "leave it out; federated.strategy: fedper keeps layers with clients, where that is meant"
            yield Problem(path, f"is not possible with clients, whose updates are of all weights: {advice}")
        if made.privacy is not None and made.privacy.unit == "example":
            yield Problem(path, "is not possible with privacy.unit: example: leave it out")
        if made.parallel is not None and made.parallel.strategy == "fsdp":
            yield Problem(path, "is not possible with parallel.strategy: fsdp: take ddp, or leave it out")
