"""Several trained models made into one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnray.errors import ConfigError, Problem, suggestion

if TYPE_CHECKING:
    from nnray.runners.ensemble import EnsembleOutcome, Rule
    from nnray.runners.results import Result

    Named = str | Path | Result


def ensemble(
    models: Named | Sequence[Named],
    *,
    combine: Rule = "mean",
    top: int | None = None,
    test: bool = True,
    register: str | None = None,
    alias: str = "candidate",
    root: str | Path = "runs",
    tracking: str | None = None,
    trust: bool = False,
) -> EnsembleOutcome:
    """Make one model of the best trials of a sweep, or of models that are named.

    Args:
        models: Sweeps, whose best trials are members, and trained models: what a verb gave, or any name.
        combine: ``mean`` of probabilities; majority ``vote``; ``stack``, a logistic regression on what they
            say; ``select``, members taken greedily and again; ``soup`` and ``uniform_soup``, one network
            with the mean of some or all members' weights.
        top: Trials of each sweep that came to their end; None for 5, or for all trials, those stopped early
            too, for ``select`` and ``soup``.
        test: Whether to measure on the test split: leave it out while rules are compared.
        register: Name to register it under; None for the experiment's.
        alias: Points to it there.
        root: The folder of the runs' folders.
        tracking: The store; None as for a run.
        trust: Open also models that run code of whoever made them.

    Raises:
        RunError: There is no such model, or fewer than two.
        IncompatibleModel: They predict other classes, or, for a soup, have another architecture.
        DataError: The rule chooses by validation examples, and a member has learnt from them.
        ConfigError: An argument is out of its range.
    """
    from nnray.runners.ensemble import RULES, ensemble

    problems = []
    if combine not in RULES:
        problems.append(Problem("combine", f"unknown rule {combine!r}; {suggestion(combine, RULES)}"))
    if top is not None and top < 1:
        problems.append(Problem("top", f"must be an integer above 0 (got {top})"))
    if problems:
        raise ConfigError("ensemble", problems)
    named = [models] if isinstance(models, str | Path) or not isinstance(models, Sequence) else models
    return ensemble(
        [_reference(model) for model in named],
        combine=combine,
        top=top,
        test=test,
        register=register,
        alias=alias,
        root=Path(root),
        tracking=tracking,
        trust=trust,
    )


def _reference(model: Named) -> str:
    if isinstance(model, str | Path):
        return str(model)
    return str(model.folder) if (model.folder / "run.json").is_file() else model.model_uri
