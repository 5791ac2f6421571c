"""What a run has spent, as plain numbers: a run that resumes goes on with the same ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from nnray.privacy.accounting import Accountant, Phase, Trees, epsilon_of
from nnray.privacy.calibrate import steps_within


@dataclass(frozen=True, slots=True)
class Ledger:
    """Steps that were taken, and what they cost together.

    Args:
        delta: Of the guarantee.
        accountant: How epsilon is computed.
        phases: Steps taken; alike ones that follow each other are one phase.
    """

    delta: float
    accountant: Accountant = "pld"
    phases: tuple[Phase, ...] = ()

    @property
    def steps(self) -> int:
        """Taken so far."""
        return sum(phase.steps for phase in self.phases)

    @property
    def epsilon(self) -> float:
        """Spent so far."""
        return epsilon_of(self.phases, delta=self.delta, accountant=self.accountant)

    def after(self, phase: Phase) -> Ledger:
        """The ledger once the steps of a phase are taken, too."""
        *before, last = self.phases or (replace(phase, steps=0),)
        if replace(last, steps=0) == replace(phase, steps=0):
            phases = (*before, replace(last, steps=last.steps + phase.steps))
        else:
            phases = (*self.phases, phase)
        return replace(self, phases=phases)

    def would_exceed(self, budget: float, phase: Phase) -> bool:
        """Whether taking the steps of a phase, too, comes to more than a budget."""
        return self.after(phase).epsilon > budget

    def steps_left(self, budget: float, phase: Phase) -> int:
        """How many more steps like those of a phase a budget allows, at most a million."""
        before = self.after(replace(phase, steps=0))
        last = before.phases[-1]
        most = steps_within(
            budget, last, spent=before.phases[:-1], delta=self.delta, accountant=self.accountant
        )
        return max(0, most - last.steps)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and words, for a checkpoint or a record."""
        return {
            "delta": self.delta,
            "accountant": self.accountant,
            "phases": [asdict(phase) for phase in self.phases],
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Ledger:
        """What `to_dict` gave."""
        phases = tuple(_phase(**phase) for phase in state["phases"])
        return cls(state["delta"], state["accountant"], phases)


def _phase(*, trees: Mapping[str, int] | None, **rest: Any) -> Phase:
    return Phase(**rest, trees=Trees(**trees) if trees else None)
