"""How much noise a training by DP-SGD has, for how many epochs, and what it has spent after each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nnray.errors import ConfigError, Problem
from nnray.privacy.accounting import Accountant, Phase, epsilon_of
from nnray.privacy.calibrate import noise_for, steps_for
from nnray.privacy.example.batches import sampling_rate, steps_of_pass


@dataclass(frozen=True, slots=True)
class Plan:
    """A training whose privacy is known before it begins.

    Args:
        noise_multiplier: Standard deviation of the noise over the clip norm.
        rate: The chance that a step draws an example.
        epochs: That are trained: fewer than were asked for, where the budget ends before.
        asked: Epochs that were asked for.
        expected: Examples that a step is expected to draw.
        delta: Of the guarantee.
        accountant: How epsilon is computed.
        withholds: Whether nothing is told that was measured on the training examples.
    """

    noise_multiplier: float
    rate: float
    epochs: int
    asked: int
    expected: float
    delta: float
    accountant: Accountant
    withholds: bool = False

    def told(self, metrics: Mapping[str, float], *, steps: int) -> dict[str, float]:
        """An epoch's metrics with what has been spent, and without what is withheld.

        Args:
            metrics: Of the epoch.
            steps: Taken since the beginning.
        """
        kept = {k: v for k, v in metrics.items() if not (self.withholds and k.startswith("train_"))}
        return kept | {"epsilon": self.epsilon(steps)}

    def steps_of(self, epochs: int) -> int:
        """Steps of so many epochs."""
        return epochs * steps_of_pass(self.rate)

    def phase(self, steps: int) -> Phase:
        """So many steps, for the accountant."""
        return Phase(self.noise_multiplier, self.rate, steps)

    def epsilon(self, steps: int) -> float:
        """What has been spent after so many steps; they are all that the accountant has to remember."""
        return epsilon_of([self.phase(steps)], delta=self.delta, accountant=self.accountant)

    def describe(self) -> str:
        """In a line, what is guaranteed, and whether the budget cuts training short."""
        spent = self.epsilon(self.steps_of(self.epochs))
        cut = f"; the budget ends training after {self.epochs} of {self.asked} epochs" if self.is_cut else ""
        return (
            f"epsilon {spent:.4g} at delta {self.delta:g} for one training example, added or removed, after "
            f"{self.epochs} epochs: noise {self.noise_multiplier:.4g}, rate {self.rate:.4g}, "
            f"accountant {self.accountant}{cut}"
        )

    @property
    def is_cut(self) -> bool:
        """Whether the budget ends training before the last epoch that was asked for."""
        return self.epochs < self.asked


def make_plan(
    *,
    num_examples: int,
    batch_size: int,
    epochs: int,
    delta: float,
    accountant: Accountant = "pld",
    epsilon: float | None = None,
    noise_multiplier: float | None = None,
    withholds: bool = False,
) -> Plan:
    """Work out what is not given: the noise from epsilon, or from both how many epochs they last for.

    Args:
        num_examples: Of the training split.
        batch_size: Examples that a step is expected to draw.
        epochs: Asked for.
        delta: Of the guarantee.
        accountant: How epsilon is computed.
        epsilon: Not to be exceeded; None for no limit.
        noise_multiplier: Standard deviation of the noise over the clip norm; None for the least that keeps
            to ``epsilon``.
        withholds: Whether nothing is told that was measured on the training examples.

    Raises:
        ConfigError: The budget doesn't last for one epoch, or a value is out of its range.
    """
    assert epsilon is not None or noise_multiplier is not None, "checked in the experiment"
    rate = sampling_rate(batch_size, num_examples)
    steps, lasts = steps_of_pass(rate), epochs
    if noise_multiplier is None:
        assert epsilon is not None
        total = epochs * steps
        noise_multiplier = noise_for(epsilon, rate=rate, steps=total, delta=delta, accountant=accountant)
    elif epsilon is not None:
        most = steps_for(
            epsilon, noise_multiplier=noise_multiplier, rate=rate, delta=delta, accountant=accountant
        )
        lasts = min(epochs, most // steps)
    plan = Plan(noise_multiplier, rate, lasts, epochs, rate * num_examples, delta, accountant, withholds)
    if not lasts:
        one = plan.epsilon(steps)
        message = (
            f"{epsilon:g} is less than the first epoch spends, which is {one:.4g} with noise_multiplier "
        )
        advice = "give epsilon alone, more noise, or a smaller training.batch_size"
        raise ConfigError(
            "this experiment", [Problem("privacy.epsilon", f"{message}{noise_multiplier:g}: {advice}")]
        )
    return plan
