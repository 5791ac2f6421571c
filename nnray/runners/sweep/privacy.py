"""What all trials of a sweep have spent together: each has looked at the same examples, or clients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from nnray.assembly import plan_for
from nnray.config import Experiment, require_federated, with_overrides
from nnray.errors import ConfigError
from nnray.privacy.accounting import Phase, epsilon_of
from nnray.runners.federated.guarantee import guarantee_of
from nnray.runners.sweep.ledger import Trial


def total_epsilon(experiment: Experiment, trials: Iterable[Trial], *, num_examples: int) -> float | None:
    """The epsilon of all trials together, at the experiment's delta; None where it isn't reckoned.

    They are composed as one long training whose noise changes, which is far less than the sum of their
    epsilons. Their draws are independent of each other (`nnray.assembly.private_seed`).

    Args:
        experiment: The sweep's.
        trials: All that have begun, failed ones among them.
        num_examples: Of the training split.
    """
    privacy = experiment.privacy
    if privacy is None or (privacy.unit == "example" and _trains_clients(experiment)):
        return None
    if privacy.unit == "example":
        phases = list(phases_of(experiment, trials, num_examples=num_examples))
    else:
        found = [_rounds_of(experiment, trial) for trial in trials]
        phases = [phase for phase in found if phase is not None]
        if len(phases) < len(found):
            return None
    return epsilon_of(phases, delta=privacy.delta, accountant=privacy.accountant)


def _rounds_of(experiment: Experiment, trial: Trial) -> Phase | None:
    """The rounds of a federated trial, for the accountant; None without a number of clients in the file."""
    made = with_overrides(experiment, trial.params)
    clients = require_federated(made).clients
    if clients is None:
        return None
    guarantee = guarantee_of(made, num_clients=clients)
    assert guarantee is not None, "the unit can't be searched"
    done = trial.state in ("finished", "pruned")
    rounds = trial.epoch if done else min(trial.epoch + 1, guarantee.rounds)
    return replace(guarantee.phase, steps=rounds)


def phases_of(experiment: Experiment, trials: Iterable[Trial], *, num_examples: int) -> Iterator[Phase]:
    """The steps of each trial, for the accountant.

    Args:
        experiment: The sweep's.
        trials: All that have begun.
        num_examples: Of the training split.
    """
    for trial in trials:
        try:
            plan = plan_for(with_overrides(experiment, trial.params), num_examples)
        except ConfigError:
            continue  # it was refused for the same reason, before its first step
        assert plan is not None, "the unit can't be searched"
        # One that broke off was in the middle of an epoch, which counts as a whole.
        epochs = trial.epoch if trial.state in ("finished", "pruned") else min(trial.epoch + 1, plan.epochs)
        yield plan.phase(plan.steps_of(epochs))


def _trains_clients(experiment: Experiment) -> bool:
    return experiment.sweep is not None and experiment.sweep.of == "federate"


def told(experiment: Experiment, epsilon: float | None, *, num_trials: int) -> str:
    """In a line, what the sweep has spent.

    Args:
        experiment: The sweep's.
        epsilon: Of all trials together; None where it isn't reckoned.
        num_trials: How many they are.
    """
    privacy = experiment.privacy
    assert privacy is not None
    each = "each of them has spent budget, whichever is taken"
    if epsilon is None:
        lacks = "the sizes of all clients" if privacy.unit == "example" else "federated.clients"
        return f"what all {num_trials} trials spend together is not reckoned without {lacks}: {each}"
    whom = "training example" if privacy.unit == "example" else "client"
    return (
        f"epsilon {epsilon:.4g} at delta {privacy.delta:g} for one {whom}, by all {num_trials} "
        f"trials together: {each}"
    )
