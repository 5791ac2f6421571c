"""Who took whose weights in a population, and what each member was trained with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nnray.runners.sweep.ledger import Ledger, Trial


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of epochs that a trial trained with the same values.

    Args:
        trial: Its number.
        begin: Epochs done before it.
        end: Epochs done after it.
        params: By dotted path.
    """

    trial: int
    begin: int
    end: int
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A trial whose weights another one went on with.

    Args:
        trial: Its number.
        epoch: After which epoch.
    """

    trial: int
    epoch: int


def copies(ledger: Ledger) -> list[tuple[int, Ancestor]]:
    """Every trial that took another's weights, and from whom, in order of the epoch."""
    found = [
        (trial.number, Ancestor(turn.source, turn.epoch))
        for trial in ledger.trials.values()
        for turn in trial.lineage
        if turn.source is not None
    ]
    return sorted(found, key=lambda copy: (copy[1].epoch, copy[0]))


def ancestors(ledger: Ledger, trial: Trial) -> list[Ancestor]:
    """Where a trial's weights come from, the nearest first; empty where they are all its own."""
    found: list[Ancestor] = []
    number, before = trial.number, math.inf
    while True:
        turns = [(t.epoch, t.source) for t in ledger.trials[number].lineage if t.epoch < before]
        taken = [(epoch, source) for epoch, source in turns if source is not None]
        if not taken:
            return found
        before, number = taken[-1]
        found.append(Ancestor(number, before))


def heritage(ledger: Ledger, trial: Trial) -> list[tuple[int, int, int]]:
    """The stretches of trials, with their first and last epoch, that a trial's weights went through."""
    chain = [Ancestor(trial.number, trial.epoch), *ancestors(ledger, trial)]
    begins = [ancestor.epoch for ancestor in chain[1:]] + [0]
    return [(own.trial, begin, own.epoch) for own, begin in zip(chain, begins, strict=True)]


def stages(trial: Trial) -> list[Stage]:
    """What a trial was trained with, in order."""
    begins = [0, *(turn.epoch for turn in trial.lineage)]
    ends = [*begins[1:], trial.epoch]
    params = [trial.proposed, *(turn.params for turn in trial.lineage)]
    return [
        Stage(trial.number, begin, end, values)
        for begin, end, values in zip(begins, ends, params, strict=True)
        if begin < end
    ]


def changed(trials: Sequence[Trial]) -> list[str]:
    """The paths whose value a turn has changed."""
    found: dict[str, None] = {}
    for trial in trials:
        for before, after in pairwise(stage.params for stage in stages(trial)):
            found |= dict.fromkeys(path for path in after if after[path] != before.get(path))
    return list(found)
