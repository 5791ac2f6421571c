"""Make one model of several: choose on validation data alone, test once, record it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from nnray.errors import RunError
from nnray.runners.ensemble.combining import RULES, SEARCHING
from nnray.runners.ensemble.kitchen import Kitchen
from nnray.runners.ensemble.measuring import Metrics
from nnray.runners.ensemble.members import Data, find_members, shortfalls
from nnray.runners.ensemble.outcome import EnsembleOutcome
from nnray.runners.ensemble.record import Finished

Rule = Literal["mean", "vote", "stack", "select", "soup", "uniform_soup"]
_TOP = 5


def ensemble(
    references: Sequence[str],
    *,
    combine: Rule = "mean",
    top: int | None = None,
    test: bool = True,
    register: str | None = None,
    alias: str = "candidate",
    root: Path = Path("runs"),
    tracking: str | None = None,
    trust: bool = False,
) -> EnsembleOutcome:
    """Make one model of the best trials of sweeps, or of models that are named.

    Args:
        references: Sweeps and models.
        combine: The rule.
        top: Trials of a sweep that came to their end; None for 5, or for all trials where the rule finds
            out itself which to take.
        test: Whether to measure on the test split.
        register: Name to register it under; None for the experiment's.
        alias: Points to it there.
        root: The folder of the runs' folders.
        tracking: The store.
        trust: Open also what runs code of whoever made it.

    Raises:
        RunError: There is no such model, or fewer than two.
        IncompatibleModel: They don't fit together; lists how they differ.
        DataError: The rule chooses, and a member has learnt from the examples to choose by.
    """
    began, data = time.perf_counter(), Data()
    number = top or (None if combine in SEARCHING else _TOP)
    members = find_members(references, top=number, data=data, root=root, tracking=tracking, trust=trust)
    if len(members) < 2:
        raise RunError(
            f"an ensemble needs two members or more, and {members[0].name} is alone: name more, or a sweep "
            "with more trials"
        )
    kitchen = Kitchen(members, data, data.of_member(members[0]))
    made = RULES[combine](kitchen.table(combine))
    alone = [kitchen.alone(member) for member in made.members]
    tested, notes = kitchen.test(made) if test else ([{} for _ in (*alone, made)], [])
    metrics = _prefixed("val", made.val) | _prefixed("test", tested[-1])
    rows = [
        member.to_dict()
        | ({"weight": made.weights[i]} if made.weights else {})
        | {"metrics": _prefixed("val", alone[i]) | _prefixed("test", tested[i])}
        for i, member in enumerate(made.members)
    ]
    notes = [
        *shortfalls(members, number),
        *kitchen.notes,
        *([f"validation: {made.caveat}"] if made.caveat else []),
        *notes,
    ]
    finished = Finished(references, combine, made, rows, metrics, notes, kitchen.splits)
    return finished.record(
        root, register=register or members[0].experiment.registered_name, alias=alias, began=began
    )


def _prefixed(split: str, metrics: Metrics) -> dict[str, float]:
    return {f"{split}_{name}": value for name, value in metrics.items()}
