"""What differential privacy of clients asks of the rounds that it is to hold for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nnray.errors import Problem

if TYPE_CHECKING:
    from nnray.config.experiment import Experiment
    from nnray.config.federated import FederatedConfig
    from nnray.config.privacy import PrivacyConfig


def private_federation_problems(made: Experiment) -> Iterator[Problem]:
    """What stands against the privacy that an experiment asks for; nothing without a federated section.

    Args:
        made: Whole, but for this check.
    """
    if made.privacy is None or made.federated is None or made.privacy.unit != "client":
        return
    yield from _sampling_problems(made.privacy, made.federated)
    yield from _delta_problems(made.privacy, made.federated)
    if made.privacy.noise_at == "clients" and made.federated.secure is None:
        message = "can only be 'clients' with secure sums: set federated.secure, or take noise_at: server"
        yield Problem("privacy.noise_at", message)


def _sampling_problems(privacy: PrivacyConfig, federated: FederatedConfig) -> Iterator[Problem]:
    """The accountant takes each client to be drawn by a toss of its own, or all of them to take part."""
    if privacy.mechanism == "tree" or federated.sampler.name == "poisson":
        return
    if federated.cohort is None and federated.fraction_fit in (None, 1.0):
        return
    if federated.cohort is not None and federated.cohort == federated.clients:
        return
    yield Problem(
        "federated.sampler",
        "must be poisson with privacy.unit: client: what a round costs is reckoned for clients drawn one by "
        f"one; or take privacy.mechanism: tree, for any cohorts (got {federated.sampler.name!r})",
    )


def _delta_problems(privacy: PrivacyConfig, federated: FederatedConfig) -> Iterator[Problem]:
    clients = federated.clients
    if clients is not None and privacy.delta * clients >= 1:
        yield Problem(
            "privacy.delta",
            f"must be below one in the number of clients, {1 / clients:g}: else giving away one of them "
            f"entirely would count as private (got {privacy.delta:g})",
        )
