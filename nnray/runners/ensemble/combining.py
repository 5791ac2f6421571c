"""The rules by which members become one model, and what each rule learns from validation examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from nnray.assembly.described import VERSION, About
from nnray.errors import DataError, IncompatibleModel
from nnray.models.ensemble import Ensemble, Stack, features
from nnray.models.selection import select
from nnray.models.soup import (
    State,
    average,
    cooked,
    greedy_soup,
    has_batch_norm,
    refresh_batch_norm,
    require_same,
)
from nnray.models.stacking import stack_members
from nnray.runners.ensemble.measuring import Answers, Metrics, Pairs, metrics_of
from nnray.runners.ensemble.members import Member, different_settings
from nnray.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Table:
    """All that a rule works with.

    Args:
        members: Best first.
        answers: Of classes, what they say of the validation split; None where it can't be used.
        alone: The metrics there of each by its name; empty where it can't be used.
        task: Its metrics.
        metric: What a soup is judged by, without the split.
        is_max: Whether more of it is better.
        seed: Of folds.
        batches: The training split in order, for statistics of batch norm.
        measured: Measures a module on the validation split.
    """

    members: Sequence[Member]
    answers: Answers | None
    alone: Mapping[str, Metrics]
    task: Task
    metric: str
    is_max: bool
    seed: int
    batches: Callable[[], Pairs]
    measured: Callable[[nn.Module], Metrics]

    @property
    def held(self) -> Answers:
        """What members say of the validation split, for a rule that needs it."""
        assert self.answers is not None, "asked for before it was known to be usable"
        return self.answers

    def score(self, metrics: Metrics) -> float:
        """Higher is better, whatever the metric."""
        value = metrics[self.metric]
        return value if self.is_max else -value


@dataclass(frozen=True, slots=True)
class Made:
    """What a rule has made.

    Args:
        module: The one model.
        described: What it takes to build it again.
        members: Those that are in it.
        text: The rule, for people.
        val: On the validation split; empty where it can't be used.
        caveat: Why ``val`` says more or less than it seems; empty where it doesn't.
        weights: What each member counts; None where all count the same.
        details: What the rule has found, for the record.
    """

    module: nn.Module
    described: About
    members: Sequence[Member]
    text: str
    val: Metrics
    caveat: str = ""
    weights: Sequence[float] | None = None
    details: Mapping[str, Any] | None = None


def mean(table: Table) -> Made:
    """The mean of the members' probabilities."""
    return _plain(table, {"name": "mean"}, text=f"mean of {len(table.members)} members' probabilities")


def vote(table: Table) -> Made:
    """The class that most members name."""
    return _plain(table, {"name": "vote"}, text=f"majority of {len(table.members)} members")


def stack(table: Table) -> Made:
    """A linear layer and a softmax on the members' log-probabilities."""
    held, members = table.held, table.members
    num_classes = held.logp.shape[2]
    found = stack_members(features(held.logp), held.targets, num_classes=num_classes, seed=table.seed)
    ensemble = _ensemble(members, {"name": "stack", "classes": num_classes})
    rule = ensemble.combine
    assert isinstance(rule, Stack)
    with torch.no_grad():
        rule.weight.copy_(found.weight)
        rule.bias.copy_(found.bias)
    return Made(
        ensemble,
        _described(members, {"name": "stack", "classes": num_classes}),
        members,
        f"stack of {len(members)} members, l2 {found.l2:g}",
        metrics_of(found.held_out, held.targets, task=table.task),
        "estimated by cross-validation",
        details={"l2": found.l2, "losses_by_l2": {f"{k:g}": v for k, v in found.losses.items()}},
    )


def selection(table: Table) -> Made:
    """Members taken greedily, with replacement, by the loss of their mean on validation examples."""
    held = table.held
    found = select(held.logp, lambda logp: -metrics_of(logp, held.targets, task=table.task)["loss"])
    kept = [m for m, count in enumerate(found.counts) if count]
    members, total = [table.members[m] for m in kept], sum(found.counts)
    weights = [found.counts[m] / total for m in kept]
    combine = {"name": "mean", "weights": weights}
    ensemble = _ensemble(members, combine)
    return Made(
        ensemble,
        _described(members, combine),
        members,
        f"{len(kept)} of {len(found.counts)} members, taken {total} times greedily",
        metrics_of(ensemble.combine(held.logp[kept]), held.targets, task=table.task),
        "members were taken by it, so it is optimistic",
        weights,
        details={"losses": [-score for score in found.path]},
    )


def uniform_soup(table: Table) -> Made:
    """One network with the mean of all members' weights."""
    states = _states(table.members)
    module = _cook(table, average(states))
    val = table.measured(module) if table.alone else {}
    return Made(module, table.members[0].described, table.members, f"soup of all {len(states)} members", val)


def soup(table: Table) -> Made:
    """One network with the mean of some members' weights, each taken if the soup is no worse with it."""
    scores = [table.score(table.alone[member.name]) for member in table.members]
    order = sorted(range(len(scores)), key=lambda m: -scores[m])
    members = [table.members[m] for m in order]

    def score(state: State) -> float:
        return table.score(table.measured(_cook(table, state)))

    states = _states(members)
    taken, tried = greedy_soup(states, score)
    kept = [members[place] for place in taken]
    module = _cook(table, average([states[place] for place in taken]))
    return Made(
        module,
        members[0].described,
        kept,
        f"soup of {len(kept)} of {len(members)} members",
        table.measured(module),
        "members were taken by it, so it is optimistic",
        details={"scores": [*zip((member.name for member in members), tried, strict=True)]},
    )


def _plain(table: Table, combine: Mapping[str, Any], *, text: str) -> Made:
    ensemble, val = _ensemble(table.members, combine), dict[str, float]()
    if table.answers is not None:
        with torch.no_grad():
            val = metrics_of(ensemble.combine(table.answers.logp), table.answers.targets, task=table.task)
    return Made(ensemble, _described(table.members, combine), table.members, text, val)


def _ensemble(members: Sequence[Member], combine: Mapping[str, Any]) -> Ensemble:
    ensemble = Ensemble([member.module for member in members], combine)
    ensemble.eval()
    return ensemble


def _described(members: Sequence[Member], combine: Mapping[str, Any]) -> About:
    return {
        "version": VERSION,
        "members": [dict(member.described) for member in members],
        "combine": dict(combine),
    }


def _states(members: Sequence[Member]) -> list[State]:
    """The members' weights, where an average of them means something."""
    states: list[State] = [member.module.state_dict() for member in members]
    require_same(states, [member.name for member in members])
    if found := list(different_settings(members)):
        advice = "A soup is of one architecture: leave those out, or combine by mean, vote or stack."
        raise IncompatibleModel("a model soup", found, advice)
    return states


def _cook(table: Table, state: State) -> nn.Module:
    module = cooked(table.members[0].module, state)
    if has_batch_norm(module):
        refresh_batch_norm(module, table.batches())
    return module


RULES: Mapping[str, Callable[[Table], Made]] = {
    "mean": mean,
    "vote": vote,
    "stack": stack,
    "select": selection,
    "soup": soup,
    "uniform_soup": uniform_soup,
}
CHOOSING = frozenset({"stack", "select", "soup"})
"""Rules that choose something, and so need validation examples that no member knows."""
OF_WEIGHTS = frozenset({"soup", "uniform_soup"})
"""Rules for models of any task: they ask no member for classes."""
SEARCHING = frozenset({"select", "soup"})
"""Rules that find out themselves which members are worth taking: they get all trials of a sweep."""


def require_usable(rule: str, problems: Sequence[str]) -> None:
    """Refuse a rule that chooses where there is nothing to choose by.

    Raises:
        DataError: With the reasons.
    """
    if rule in CHOOSING and problems:
        raise DataError(
            f"--combine {rule} chooses by validation examples, and there are none that no member knows: "
            f"{'; '.join(problems)}; take --combine mean or vote, which choose nothing"
        )
