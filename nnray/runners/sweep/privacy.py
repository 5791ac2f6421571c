"""What all trials of a sweep have spent together: each has looked at the same private examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nnray.assembly import plan_for
from nnray.config import Experiment, with_overrides
from nnray.errors import ConfigError
from nnray.privacy.accounting import Phase, epsilon_of
from nnray.runners.sweep.ledger import Trial


def total_epsilon(experiment: Experiment, trials: Iterable[Trial], *, num_examples: int) -> float | None:
    """The epsilon of all trials together, at the experiment's delta; None without privacy of examples.

    They are composed as one long training whose noise changes, which is far less than the sum of their
    epsilons. Their draws are independent of each other (`nnray.assembly.private_seed`).

    Args:
        experiment: The sweep's.
        trials: All that have begun, failed ones among them.
        num_examples: Of the training split.
    """
    privacy = experiment.privacy
    if privacy is None or privacy.unit != "example" or _trains_clients(experiment):
        return None
    phases = list(phases_of(experiment, trials, num_examples=num_examples))
    return epsilon_of(phases, delta=privacy.delta, accountant=privacy.accountant)


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


def told(experiment: Experiment, epsilon: float, *, num_trials: int) -> str:
    """In a line, what the sweep has spent.

    Args:
        experiment: The sweep's.
        epsilon: Of all trials together.
        num_trials: How many they are.
    """
    privacy = experiment.privacy
    assert privacy is not None
    return (
        f"epsilon {epsilon:.4g} at delta {privacy.delta:g} for one training example, by all {num_trials} "
        "trials together: each of them has spent budget, whichever is taken"
    )
