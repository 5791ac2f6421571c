"""What a trained model withstands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from nnray.api.named import Opening, open_model, root_of, store_of
from nnray.errors import ConfigError, Problem

if TYPE_CHECKING:
    from nnray.robustness.attack import Attack
    from nnray.robustness.corruption import Corruption
    from nnray.robustness.space import Norm
    from nnray.runners.results import Result
    from nnray.runners.robustness import AttackOutcome
    from nnray.runners.subject import Part, Subject


def attack(
    model: str | Path | Result,
    *,
    method: str | Sequence[str] = (),
    epsilon: float | Sequence[float] = (),
    norm: Norm | None = None,
    steps: int | None = None,
    restarts: int | None = None,
    corruptions: str | Sequence[str] = (),
    baseline: str | None = None,
    split: Part = "test",
    limit: int | None = 1000,
    batch_size: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    **opening: Unpack[Opening],
) -> AttackOutcome:
    """Measure the accuracy of a model under attack, and on corrupted images.

    Args:
        model: A trained model: what training gave, or any name that it has.
        method: Attacks, as ``pgd`` or ``pgd:steps=20``; ``pgd`` if neither attacks nor corruptions are named.
        epsilon: Bounds of a move: pixel values from 0 to 1 for images, standard deviations of each feature
            for vectors. None given: a few usual ones.
        norm: By which moves are measured, for all attacks.
        steps: For all attacks.
        restarts: For all attacks.
        corruptions: Names, as ``jpeg``; ``all`` for all that ship.
        baseline: A model that errors on corrupted images are relative to.
        split: Whose examples are taken.
        limit: The first so many of them; None for all.
        batch_size: Examples at a time; None for ``training.eval_batch_size``.
        seed: Of all draws.
        out: Folder for files; None for a new one below the run's.
        opening: ``root``, ``tracking``, ``trust`` and ``experiment``, as for every trained model.

    Raises:
        RunError: There is no such model.
        ConfigError: An attack or a corruption doesn't take what it is given.
        DataError: There are no such examples, or no images where corruptions are asked for.
    """
    from nnray.runners.robustness import Request, attack_model

    methods, names = _asked_for(method, corruptions)
    given = {"norm": norm, "steps": steps, "restarts": restarts, "epsilon": epsilon or None}
    _require_use(methods, names, baseline=baseline, only_attacks=given)
    attacks, corrupted = _built(methods, names, given=given)
    subject = open_model(model, **opening)
    request = Request(
        attacks=attacks,
        corruptions=corrupted,
        epsilons=(epsilon,) if isinstance(epsilon, int | float) else tuple(epsilon),
        part=split,
        limit=limit,
        batch_size=batch_size,
        seed=seed,
        baseline=None if baseline is None else _baseline(baseline, model, opening),
    )
    return attack_model(subject, request, root=root_of(opening), out=None if out is None else Path(out))


def _require_use(
    methods: Sequence[str],
    corruptions: Sequence[str],
    *,
    baseline: str | None,
    only_attacks: dict[str, Any],
) -> None:
    """Refuse what would change nothing."""
    given = [key for key, value in only_attacks.items() if value is not None] if not methods else []
    problems = [Problem(key, "is for attacks, and none is asked for: name one by method") for key in given]
    if baseline is not None and not corruptions:
        problems.append(Problem("baseline", "is for corruptions, and none is asked for: name them, or all"))
    if problems:
        raise ConfigError("attack", problems)


def _asked_for(
    method: str | Sequence[str], corruptions: str | Sequence[str]
) -> tuple[Sequence[str], Sequence[str]]:
    """Attacks and corruptions; an attack where neither is named."""
    methods, names = ((each,) if isinstance(each, str) else tuple(each) for each in (method, corruptions))
    return methods or (() if names else ("pgd",)), names


def _built(
    methods: Sequence[str], corruptions: Sequence[str], *, given: dict[str, Any]
) -> tuple[dict[str, Attack], dict[str, Corruption]]:
    from nnray.runners.robustness.plugins import attacks_of, corruptions_of

    common = {key: value for key, value in given.items() if key != "epsilon" and value is not None}
    return attacks_of(methods, common=common), corruptions_of(corruptions)


def _baseline(name: str, model: str | Path | Result, opening: Opening) -> Subject:
    """By default out of the store that the model is from; an experiment's file is of the model alone."""
    tracking = opening.get("tracking") or store_of(model)
    return open_model(name, root=root_of(opening), tracking=tracking, trust=opening.get("trust", False))
