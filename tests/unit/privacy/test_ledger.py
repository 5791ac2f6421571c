"""What was spent: added up, asked beforehand, written down and read again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from nnray.privacy.accounting import Accountant, Phase, Trees, epsilon, epsilon_of
from nnray.privacy.ledger import Ledger

ROUND = Phase(1.2, 0.2)
TREE = Phase(5.0, trees=Trees(4, 2))


@pytest.mark.parametrize("accountant", ["rdp", "pld"])
def test_after_some_rounds_it_says_what_they_come_to(accountant: Accountant) -> None:
    ledger = Ledger(1e-5, accountant)
    assert (ledger.epsilon, ledger.steps) == (0.0, 0)
    for _ in range(7):
        ledger = ledger.after(ROUND)
    assert ledger.phases == (replace(ROUND, steps=7),)
    assert ledger.steps == 7
    expected = epsilon(noise_multiplier=1.2, rate=0.2, steps=7, delta=1e-5, accountant=accountant)
    assert ledger.epsilon == expected


def test_noise_may_change_between_phases() -> None:
    ledger = Ledger(1e-5)
    for phase in (ROUND, ROUND, replace(ROUND, noise_multiplier=2.0), ROUND):
        ledger = ledger.after(phase)
    assert [phase.steps for phase in ledger.phases] == [2, 1, 1]
    both = [replace(ROUND, steps=3), replace(ROUND, noise_multiplier=2.0)]
    assert ledger.epsilon == epsilon_of(both, delta=1e-5)


def test_a_tree_goes_on_from_round_to_round() -> None:
    ledger = Ledger(1e-5)
    for _ in range(6):
        ledger = ledger.after(TREE)
    assert ledger.epsilon == epsilon_of([replace(TREE, steps=6)], delta=1e-5)


@pytest.mark.parametrize("phase", [ROUND, TREE])
def test_the_round_that_would_exceed_a_budget_is_known_before(phase: Phase) -> None:
    ledger, budget = Ledger(1e-5, "rdp"), 3.5
    left = ledger.steps_left(budget, phase)
    rounds = 0
    while not ledger.would_exceed(budget, phase):
        ledger, rounds = ledger.after(phase), rounds + 1
        if rounds == 2:
            assert ledger.steps_left(budget, phase) == left - 2
    assert rounds == left > 2
    assert ledger.epsilon <= budget < ledger.after(phase).epsilon


def test_steps_left_are_none_once_too_much_is_spent() -> None:
    ledger = Ledger(1e-5, "rdp").after(replace(ROUND, steps=100))
    assert ledger.steps_left(1.0, ROUND) == 0
    assert ledger.steps_left(1.0, replace(ROUND, noise_multiplier=50.0)) == 0


@pytest.mark.parametrize("accountant", ["rdp", "pld"])
def test_written_and_read_again_it_goes_on_with_the_same_numbers(accountant: Accountant) -> None:
    ledger = Ledger(1e-5, accountant).after(replace(ROUND, steps=3)).after(TREE)
    again = Ledger.from_dict(json.loads(json.dumps(ledger.to_dict())))
    assert again == ledger
    assert again.after(TREE).epsilon == ledger.after(TREE).epsilon
