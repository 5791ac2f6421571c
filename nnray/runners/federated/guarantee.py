"""What a federated run promises its clients: how much noise, for how many rounds, and what is outside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from nnray.config import Experiment, FederatedConfig, PrivacyConfig, require_federated
from nnray.errors import ConfigError, Problem
from nnray.privacy.accounting import Phase, Trees, epsilon_of
from nnray.privacy.calibrate import noise_of, steps_within
from nnray.runners.private import outside_guarantee


@dataclass(frozen=True, slots=True)
class Guarantee:
    """Differential privacy of clients, for a run.

    Args:
        phase: A round, for the accountant.
        privacy: The section of the experiment.
        rounds: So many may be run; those asked for, or fewer where a budget ends before.
        cohort: Clients of a round, on average.
    """

    phase: Phase
    privacy: PrivacyConfig
    rounds: int
    cohort: float

    def epsilon(self, rounds: int) -> float:
        """What so many rounds have spent."""
        phase = replace(self.phase, steps=rounds)
        return epsilon_of([phase], delta=self.privacy.delta, accountant=self.privacy.accountant)

    def describe(self) -> str:
        """What holds for every client, in a line."""
        privacy = self.privacy
        return (
            f"each client: epsilon {self.epsilon(self.rounds):.4f} at delta {privacy.delta:g} after "
            f"{self.rounds} rounds (noise {self.phase.noise_multiplier:.4f} times the clip norm, "
            f"{privacy.clipping} {privacy.clip_norm:g}, {privacy.mechanism}, {privacy.accountant})"
        )


def guarantee_of(experiment: Experiment, *, num_clients: int) -> Guarantee | None:
    """What an experiment promises each client; None where it promises nothing.

    Args:
        experiment: With a ``federated`` section.
        num_clients: All there are.

    Raises:
        ConfigError: The budget doesn't last for one round, or can't be kept to.
    """
    privacy, federated = experiment.privacy, require_federated(experiment)
    if privacy is None or privacy.unit != "client":
        return None
    cohort = federated.cohort_of(num_clients)
    phase = _phase(privacy, federated, rate=cohort / num_clients)
    rounds = federated.rounds
    if privacy.noise_multiplier is None:
        assert privacy.epsilon is not None, "the section asks for one of both"
        whole = replace(phase, steps=rounds)
        noise = noise_of(whole, privacy.epsilon, delta=privacy.delta, accountant=privacy.accountant)
        return Guarantee(replace(phase, noise_multiplier=noise), privacy, rounds, float(cohort))
    if privacy.epsilon is not None:
        rounds = min(rounds, _affordable(privacy, phase))
    return Guarantee(phase, privacy, rounds, float(cohort))


def outside_of(experiment: Experiment, *, also: Iterable[str] = ()) -> Iterator[str]:
    """What a private federated run tells or uses of its clients' data, beside the guarantee.

    Args:
        experiment: With a section ``privacy``.
        also: What else there is for the unit that is protected.
    """
    yield from outside_guarantee(
        experiment,
        inputs="the clients' inputs",
        measured="train_loss, client_ metrics and the table of clients",
        also=also,
    )
    yield "the validation and test examples of the server, if they are anybody's"


def _phase(privacy: PrivacyConfig, federated: FederatedConfig, *, rate: float) -> Phase:
    noise = privacy.noise_multiplier or 1.0
    if privacy.mechanism == "tree":
        trees = Trees(privacy.restart_every or federated.rounds, privacy.max_participations or 1)
        return Phase(noise, 1.0, trees=trees)
    return Phase(noise, rate)


def _affordable(privacy: PrivacyConfig, phase: Phase) -> int:
    assert privacy.epsilon is not None
    rounds = steps_within(privacy.epsilon, phase, delta=privacy.delta, accountant=privacy.accountant)
    if not rounds:
        one = epsilon_of([phase], delta=privacy.delta, accountant=privacy.accountant)
        message = f"is less than the first round comes to, which is {one:.4g}: add noise, or allow more"
        raise ConfigError(
            "this experiment", [Problem("privacy.epsilon", f"{message} (got {privacy.epsilon:g})")]
        )
    return rounds
