"""What a sweep taught, in words: the best configuration, what mattered, and where to search next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nnray.config import Experiment
from nnray.runners.sweep.findings import Saved, broken, edges, failures, importance, judged, saved
from nnray.runners.sweep.ledger import Ledger, Trial
from nnray.runners.sweep.lineage import Ancestor, ancestors, copies
from nnray.runners.sweep.study import Study
from nnray.runners.sweep.words import number

_ROWS = 12
"""Lines of the front's table."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a sweep taught.

    Args:
        metric: What was searched for.
        best: The best trial.
        counts: Trials by state.
        importance: Dotted path to its share of what made trials good; empty with too few trials.
        edges: Ranges whose edge the best point touches, in words.
        saved: What stopping early saved.
        failures: Reasons of failed trials, and how many failed of each.
        front: Trials that no other one beats in everything; empty without objectives.
        broken: By constraint, how many trials broke it.
        judged: How many trials have been held against the constraints.
        copies: How often a trial of a population took another one's weights.
        ancestors: Where the best trial's weights come from, the nearest first.
        period: What trials are trained in: ``epoch`` or ``round``.
        privacy: What all trials have spent of a privacy budget, in words; empty without one.
        epsilon: The same as a number.
    """

    metric: str
    best: Trial
    counts: Mapping[str, int]
    importance: Mapping[str, float] = field(default_factory=dict)
    edges: tuple[str, ...] = ()
    saved: Saved = field(default_factory=Saved)
    failures: Mapping[str, int] = field(default_factory=dict)
    front: tuple[Trial, ...] = ()
    broken: Mapping[str, int] = field(default_factory=dict)
    judged: int = 0
    copies: int = 0
    ancestors: tuple[Ancestor, ...] = ()
    period: str = "epoch"
    privacy: str = ""
    epsilon: float | None = None

    def lines(self) -> Iterator[str]:
        """In words, for a terminal."""
        total = sum(self.counts.values())
        states = ", ".join(f"{count} {state}" for state, count in self.counts.items())
        yield f"{total} trials: {states}"
        yield from self._best_lines()
        if self.front:
            yield from front_lines(self.front, metric=self.metric)
        if self.importance:
            shares = ", ".join(f"{path} {share:.0%}" for path, share in self.importance.items())
            yield f"importance  {shares}"
        for edge in self.edges:
            yield f"edge        {edge}"
        yield from self._ends()

    def _best_lines(self) -> Iterator[str]:
        best = self.best
        others = "".join(f", {name} {number(value)}" for name, value in best.objectives.items())
        values = f"{self.metric} {best.value:.4f}{others}"
        yield f"best        trial {best.number}, {values} at {self.period} {best.chosen}"
        for path, value in best.params.items():
            yield f"            {path} = {number(value)}"
        if self.ancestors:
            line = ", ".join(f"trial {own.trial} (epoch {own.epoch})" for own in self.ancestors)
            yield f"            its weights come from {line}"

    def _ends(self) -> Iterator[str]:
        if self.privacy:
            yield f"privacy     {self.privacy}"
        if self.copies:
            yield f"population  {self.copies} times a trial took the weights of a better one"
        if self.saved.epochs:
            yield (
                f"saved       {self.saved.epochs} of {self.saved.of} {self.period}s "
                f"({self.saved.percent:.0f} %) by stopping early"
            )
        for rule, count in self.broken.items():
            yield f"constraint  {rule}: broken by {count} of {self.judged} trials"
        for reason, count in self.failures.items():
            yield f"failed      {count} x {reason}"


def front_lines(front: Sequence[Trial], *, metric: str) -> Iterator[str]:
    """A small table of the front, from one end to the other."""
    names = list(front[0].objectives)
    shown = _spread(front)
    rows = [["trial", metric, *names]]
    rows += [
        [str(t.number), f"{t.value:.4f}", *(number(value) for value in t.objectives.values())] for t in shown
    ]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for title, row in zip(("front", *[""] * len(shown)), rows, strict=True):
        cells = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        yield f"{title:12}{'  '.join(cells)}"
    if len(shown) < len(front):
        yield f"{'':12}and {len(front) - len(shown)} more between them"


def _spread(front: Sequence[Trial]) -> list[Trial]:
    """No more than fit in a small table, both ends among them."""
    if len(front) <= _ROWS:
        return list(front)
    return [front[round(place * (len(front) - 1) / (_ROWS - 1))] for place in range(_ROWS)]


def summarize(experiment: Experiment, ledger: Ledger, *, study: Study, best: Trial) -> Summary:
    """Look back on a sweep that has a best trial."""
    config = experiment.sweep
    assert config is not None
    return Summary(
        metric=config.metric,
        best=best,
        counts=ledger.counts,
        importance=importance(study.with_pruned()),
        edges=tuple(edges(config.space, best.params)),
        saved=saved(experiment.planned, ledger, resource=config.resource),
        failures=failures(ledger),
        front=tuple(ledger.front),
        broken=broken(ledger),
        judged=len(judged(ledger)),
        copies=len(copies(ledger)),
        ancestors=tuple(ancestors(ledger, best)),
        period=config.period,
    )
