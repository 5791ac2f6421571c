"""What a federated run promises each example: noise of the clients' steps, rounds, and what is outside.

A client's examples are protected from whoever sees what it sends, and not the seed. Nothing is gained from
which clients a round draws: what a client has spent goes by its own sampling rate, and by its rounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nnray.assembly import private_seed
from nnray.config import Experiment, PrivacyConfig, require_federated
from nnray.data.splits import DataInfo
from nnray.errors import ConfigError, Problem
from nnray.federated.local import LocalTraining, pulls_of
from nnray.federated.strategy import Strategy
from nnray.privacy.accounting import Phase
from nnray.privacy.example.local import LocalDpSgd, LocalSteps, local_noise, rounds_within, worst_client
from nnray.runners.federated.guarantee import outside_of
from nnray.runners.federated.participants import Participants


@dataclass(frozen=True, slots=True)
class LocalGuarantee:
    """Differential privacy of the examples of every client, for a run.

    Args:
        privacy: The section of the experiment.
        noise_multiplier: Standard deviation of the noise of a step over the clip norm.
        steps: How clients' steps are drawn.
        sizes: Examples of each client.
        rounds: So many may be run; those asked for, or fewer where a budget ends before.
    """

    privacy: PrivacyConfig
    noise_multiplier: float
    steps: LocalSteps
    sizes: NDArray[np.int64]
    rounds: int

    def epsilon(self, counts: Mapping[int, int]) -> float | None:
        """What the client has spent that has spent most; None where nobody took part.

        Args:
            counts: By client, rounds in which it trained.
        """
        worst = worst_client(
            counts,
            self.steps,
            sizes=self.sizes,
            noise_multiplier=self.noise_multiplier,
            delta=self.privacy.delta,
            accountant=self.privacy.accountant,
        )
        return None if worst is None else worst.epsilon

    def phases(self, rounds: int) -> dict[int, Phase]:
        """So many rounds for the accountant, by a client's number of examples."""
        noise = self.noise_multiplier
        return {
            size: self.steps.phase(size, noise_multiplier=noise, rounds=rounds)
            for size in self.steps.in_round
        }

    def describe(self) -> str:
        """What holds for every example, in a line."""
        privacy = self.privacy
        spent = self.epsilon(dict.fromkeys(np.flatnonzero(self.sizes).tolist(), self.rounds))
        bound = f"epsilon {spent:.4g} at delta {privacy.delta:g}"
        noise = f"noise {self.noise_multiplier:.4g} times the clip norm {privacy.clip_norm:g} in each step"
        return (
            f"each example, added or removed at its client: {bound} or less, for clients "
            f"that take part in all {self.rounds} rounds ({noise}, {privacy.accountant})"
        )

    def outside(self, experiment: Experiment) -> Iterator[str]:
        """What a run tells or uses of the clients' examples, beside the guarantee."""
        sites = ["the server and all sites, who know the seed: others see a model with noise"]
        also = [*(sites if require_federated(experiment).sites else []), "how many examples each client has"]
        return outside_of(experiment, also=also)


def epsilon_so_far(
    guarantee: LocalGuarantee | None, participants: Participants, *, number: int
) -> float | None:
    """What the worst client has spent after a round; None where nothing is promised, or nobody took part.

    Clients whose update was lost have trained, and count; a round done again has the same draws, and counts
    once.

    Args:
        guarantee: Of the run.
        participants: Who took part, and who failed.
        number: Of the round.
    """
    if guarantee is None:
        return None
    counts = dict[int, int]()
    for client, (rounds, _, _, failures, _) in participants.dump().items():
        counts[client] = min(int(rounds + failures), number)
    return guarantee.epsilon(counts)


def require_private(name: str, strategy: Strategy, *, local: LocalTraining, params: Tensor) -> None:
    """Refuse a strategy whose clients tell of their examples, or use them, beside their noisy steps.

    Args:
        name: Of the strategy.
        strategy: Itself.
        local: How clients train.
        params: The first weights.

    Raises:
        ConfigError: It does.
    """
    reason = ""
    if strategy.needs_start_loss:
        reason = "its clients tell the loss of their examples without noise"
    elif any(pull.repeat > 1 for pull in pulls_of(strategy, local, params=params, num_examples=1)):
        reason = "its clients take several steps on the examples that were drawn for one"
    if reason:
        message = f"{name!r} can't be had with privacy.unit: example: {reason}; take fedavg, fedprox or ditto"
        raise ConfigError("this experiment", [Problem("federated.strategy", message)])


def local_guarantee(experiment: Experiment, *, sizes: NDArray[np.int64], steps: LocalSteps) -> LocalGuarantee:
    """What an experiment with privacy of examples promises each of them.

    Args:
        experiment: With sections ``federated`` and ``privacy``.
        sizes: Examples of each client.
        steps: How clients' steps are drawn.

    Raises:
        ConfigError: The budget doesn't last for one round, or can't be kept to.
    """
    privacy, rounds = experiment.privacy, require_federated(experiment).rounds
    assert privacy is not None, "asked for with privacy of examples"
    trained, noise = sizes[sizes > 0], privacy.noise_multiplier
    if noise is None:
        assert privacy.epsilon is not None, "the section asks for one of both"
        noise = local_noise(
            privacy.epsilon,
            steps,
            sizes=trained,
            rounds=rounds,
            delta=privacy.delta,
            accountant=privacy.accountant,
        )
    elif privacy.epsilon is not None:
        rounds = rounds_within(
            privacy.epsilon,
            steps,
            sizes=trained,
            noise_multiplier=noise,
            most=rounds,
            delta=privacy.delta,
            accountant=privacy.accountant,
        )
    found = LocalGuarantee(privacy, noise, steps, sizes, max(1, rounds))
    if not rounds:
        one = found.epsilon(dict.fromkeys(np.flatnonzero(sizes).tolist(), 1))
        message = (
            f"is less than a client spends in its first round, which is {one:.4g}: add noise, or allow more"
        )
        problem = Problem("privacy.epsilon", f"{message} (got {privacy.epsilon:g})")
        raise ConfigError(experiment.name, [problem])
    return found


def dp_sgd(
    experiment: Experiment, info: DataInfo, *, batch_size: int | None, noise_multiplier: float
) -> LocalDpSgd:
    """How clients train by DP-SGD.

    Args:
        experiment: With privacy of examples.
        info: Of the data.
        batch_size: Examples that a step is expected to draw; None for all of a client's.
        noise_multiplier: Standard deviation of the noise over the clip norm.
    """
    privacy, training = experiment.privacy, experiment.training
    assert privacy is not None, "asked for with privacy of examples"
    return LocalDpSgd(
        batch_size=batch_size,
        clip_norm=privacy.clip_norm,
        noise_multiplier=noise_multiplier,
        at_once=privacy.physical_batch_size or batch_size or training.batch_size,
        seed=private_seed(experiment, info),
    )
