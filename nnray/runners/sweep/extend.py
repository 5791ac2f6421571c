"""Gives a sweep more trials than it was begun with, even after it has ended."""

from __future__ import annotations

import re

from nnray.config import with_overrides
from nnray.errors import RunError
from nnray.runners.folder import RunFolder
from nnray.runners.sweep.budget import num_trials
from nnray.runners.sweep.goal import Goal
from nnray.runners.sweep.journal import Journal
from nnray.runners.sweep.parts import make_ledger, make_scheduler
from nnray.runners.sweep.replay import as_population


def extend(folder: RunFolder, trials: str | int) -> None:
    """Have a sweep go on until it has so many trials.

    Args:
        folder: Of the sweep.
        trials: The number; ``"+20"`` for so many more than it had.

    Raises:
        RunError: It has as many, or can't have more.
    """
    text = str(trials)
    if not re.fullmatch(r"\+?[1-9][0-9]{0,6}", text):
        raise RunError(f"--trials {text}: must be a number of trials such as 50, or +20 for so many more")
    experiment = folder.experiment
    config = experiment.sweep
    assert config is not None
    done = len(make_ledger(Goal.of(config), Journal(folder.path / "journal.jsonl").events()).trials)
    had = max(done, num_trials(config, size=None))
    wanted = had + int(text) if text.startswith("+") else int(text)
    if wanted < done or (wanted == had and folder.result is not None):
        raise RunError(f"--trials {text}: {folder.name} has {done} trials: give a higher number, or +20")
    if done and as_population(make_scheduler(experiment, trials=wanted)) is not None:
        raise RunError(f"--trials {text}: {folder.name} is a population, which no trial can join later")
    with folder.held():
        folder.reopen(with_overrides(experiment, {"sweep.trials": wanted}))
