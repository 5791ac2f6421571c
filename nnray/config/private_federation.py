"""What differential privacy of clients asks of the rounds that it is to hold for."""

from __future__ import annotations

from collections.abc import Iterator

from nnray.config.federated import FederatedConfig
from nnray.config.privacy import PrivacyConfig
from nnray.config.sections import SweepConfig
from nnray.errors import Problem

_FIXED = ("privacy.unit", "privacy.delta", "privacy.accountant", "federated.clients")
_NEGLIGIBLE = 0.01
"""Of delta: what may be left out of the account."""


def private_federation_problems(
    privacy: PrivacyConfig | None,
    federated: FederatedConfig | None,
    *,
    sweep: SweepConfig | None = None,
) -> Iterator[Problem]:
    """What stands against the privacy that an experiment asks for; nothing without a federated section.

    Args:
        privacy: The experiment's section.
        federated: Likewise.
        sweep: Likewise.
    """
    if privacy is None or federated is None or privacy.unit != "client":
        return
    yield from _sampling_problems(privacy, federated)
    yield from _delta_problems(privacy, federated)
    for path in _FIXED:
        if sweep is not None and path in sweep.space:
            message = "can't be searched: what all trials spend together is said for one value"
            yield Problem(f"sweep.space.{path}", message)
    if federated.secure is not None and privacy.mechanism == "gaussian":
        yield from _alone_problems(privacy, federated)
    if privacy.noise_at == "clients" and federated.secure is None:
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


def _alone_problems(privacy: PrivacyConfig, federated: FederatedConfig) -> Iterator[Problem]:
    """A client that is drawn alone is left out of a secure sum, so that whoever joins it counts twice."""
    if federated.clients is None or federated.sampler.name != "poisson":
        return
    clients = federated.clients
    rate = federated.cohort_of(clients) / clients
    chance = federated.rounds * clients * rate * (1 - rate) ** (clients - 1)
    if chance > _NEGLIGIBLE * privacy.delta:
        yield Problem(
            "federated.cohort",
            "is so small that a client may be drawn alone, and secure sums leave such a one out (probability "
            f"{chance:.2g} in {federated.rounds} rounds; allowed: a hundredth of delta): take a larger "
            "cohort, or all clients",
        )


def _delta_problems(privacy: PrivacyConfig, federated: FederatedConfig) -> Iterator[Problem]:
    clients = federated.clients
    if clients is not None and privacy.delta * clients >= 1:
        yield Problem(
            "privacy.delta",
            f"must be below one in the number of clients, {1 / clients:g}: else giving away one of them "
            f"entirely would count as private (got {privacy.delta:g})",
        )
