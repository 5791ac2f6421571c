"""Makes a sweep's study, scheduler and first points from its experiment; no Ray, no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nnray.config import Experiment, flatten
from nnray.config.conditions import active
from nnray.registry import build
from nnray.runners.sweep.goal import Goal
from nnray.runners.sweep.journal import Event
from nnray.runners.sweep.ledger import Ledger
from nnray.runners.sweep.schedulers import Scheduler
from nnray.runners.sweep.study import Study, open_study
from nnray.seeding import derive


def make_ledger(goal: Goal, events: Iterable[Event] = ()) -> Ledger:
    """The ledger of a sweep with this goal, after what has happened so far."""
    return Ledger(goal.mode, objectives=goal.objectives, constraints=goal.constraints, events=events)


def make_study(experiment: Experiment, path: Path, *, name: str) -> Study:
    """A new study in a file; each trial's proposal has a seed of its own, so that it can be resumed.

    Args:
        experiment: With a ``sweep`` section.
        path: The file.
        name: Unique, such as the run's name.
    """
    config, seed = experiment.sweep, derive(experiment.seed, "sweep")
    assert config is not None
    goal = Goal.of(config)
    return open_study(
        path,
        name=name,
        modes=goal.modes,
        space=config.space,
        make_sampler=lambda number: build(
            "searcher", config.search, goal.metric, goal.mode, derive(seed, number), space=config.space
        ),
    )


def make_scheduler(experiment: Experiment, *, trials: int) -> Scheduler:
    """A new scheduler.

    Args:
        experiment: With a ``sweep`` section.
        trials: How many trials there will be.
    """
    config = experiment.sweep
    assert config is not None
    goal, seed = Goal.of(config), derive(experiment.seed, "sweep")
    scheduler: Scheduler = build(
        "scheduler", config.scheduler, goal.metric, goal.mode, seed, space=config.space, trials=trials
    )
    return scheduler


def first_points(experiment: Experiment, *, size: int | None) -> list[Mapping[str, Any]]:
    """What is tried before the searcher proposes anything.

    It is the file's own values, as far as the space holds them, then ``sweep.points``.

    Args:
        experiment: With a ``sweep`` section.
        size: How many points the searcher covers; one that covers all of them needs no such start.
    """
    config, flat = experiment.sweep, flatten(experiment)
    assert config is not None
    held = {path: flat[path] for path, range_ in config.space.items() if range_.holds(flat.get(path))}
    own = active(held, config.space)
    points = [own] if own and size is None else []
    return [*points, *(point for point in config.points if point != own)]
