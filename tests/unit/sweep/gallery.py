"""Sweeps that are over, made from events alone: what looks back on a sweep is shown these."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from nnray.config import Constraint, Range
from nnray.runners.sweep.goal import Goal
from nnray.runners.sweep.journal import Ended, Event, Proposed, Reported, Turned
from nnray.runners.sweep.ledger import Ledger, Trial
from nnray.runners.sweep.plots import Picture
from nnray.runners.sweep.study import Space

SPACE: Mapping[str, Range] = {
    path: Range.model_validate(given)
    for path, given in {
        "optimizer.name": {"choice": ["sgd", "adam"]},
        "optimizer.lr": {"loguniform": [1e-4, 1e-1]},
        "optimizer.momentum": {"uniform": [0.0, 0.99], "when": {"optimizer.name": "sgd"}},
        "model.hidden": {"choice": [[32], [64, 64], [256, 256, 128]]},
        "model.dropout": {"uniform": [0.0, 0.6]},
        "training.batch_size": {"logint": [16, 256]},
    }.items()
}
SIZES = {(32,): 2_410.0, (64, 64): 8_970.0, (256, 256, 128): 119_050.0}
EPOCHS = 4


@dataclass(frozen=True, slots=True)
class Shown:
    """A sweep that is over."""

    goal: Goal
    ledger: Ledger
    space: Mapping[str, Range]

    @property
    def picture(self) -> Picture:
        """As the plots take it, with shares that are made up."""
        shares = {path: 0.4 / 2**place for place, path in enumerate(self.space)}
        return Picture(self.space, self.goal, self.ledger, shares)

    @property
    def study(self) -> optuna.Study:
        """As Optuna has it, trials that were stopped early among the others."""
        directions = ["maximize" if mode == "max" else "minimize" for mode in self.goal.modes]
        study = optuna.create_study(directions=directions, study_name="digits-sweep")
        space = Space(self.space)
        for trial in self.ledger.trials.values():
            if trial.state in ("finished", "pruned") and math.isfinite(trial.value):
                study.add_trial(
                    optuna.trial.create_trial(
                        params=space.encode(trial.params),
                        distributions={path: space.distributions[path] for path in trial.params},
                        values=[trial.value, *trial.objectives.values()],
                        intermediate_values=trial.values,
                        constraints=dict(trial.violations),
                    )
                )
        return study


def shown(
    *,
    trials: int = 30,
    metric: str = "val_accuracy",
    objectives: tuple[str, ...] = (),
    limit: float | None = None,
) -> Shown:
    """A sweep in which some trials were pruned, some failed, and some are too large for ``limit``."""
    rule = (Constraint.parse(f"parameters <= {limit:g}"),) if limit else ()
    goal = Goal(metric, "min" if "loss" in metric else "max", dict.fromkeys(objectives, "min"), rule)
    ledger = Ledger(goal.mode, objectives=goal.objectives, constraints=rule)
    draw = random.Random(1)
    for number in range(trials):
        params = _params(draw)
        for event in _trial(number, params, metric=metric, draw=draw):
            ledger.apply(event)
    return Shown(goal, ledger, SPACE)


def _params(draw: random.Random) -> dict[str, Any]:
    params: dict[str, Any] = {"optimizer.name": draw.choice(["sgd", "adam"])}
    params["optimizer.lr"] = 10 ** draw.uniform(-4, -1)
    if params["optimizer.name"] == "sgd":
        params["optimizer.momentum"] = draw.uniform(0, 0.99)
    params["model.hidden"] = list(draw.choice(list(SIZES)))
    params["model.dropout"] = draw.uniform(0, 0.6)
    params["training.batch_size"] = round(2 ** draw.uniform(4, 8))
    return params


def _trial(number: int, params: Mapping[str, Any], *, metric: str, draw: random.Random) -> Iterator[Event]:
    """Every seventh fails in its second epoch, every fourth is pruned after it."""
    yield Proposed(number, params, f"run/{number:04d}")
    off = (math.log10(params["optimizer.lr"]) + 2) ** 2 / 6
    accuracy = (
        0.97
        - 0.2 * off
        - 0.1 * params["model.dropout"]
        + 0.01 * math.log10(SIZES[tuple(params["model.hidden"])])
    )
    accuracy += draw.gauss(0, 0.01)
    for epoch in range(1, EPOCHS + 1):
        now = accuracy * (1 - 0.4 / 2**epoch)
        value = now if "accuracy" in metric else -math.log(now) * (1000 if number % 7 == 3 else 1)
        metrics = {
            metric: value,
            "parameters": SIZES[tuple(params["model.hidden"])] + 10 * params["training.batch_size"],
            "latency_ms": 0.2 + SIZES[tuple(params["model.hidden"])] / 1e5 * draw.uniform(0.8, 1.2),
        }
        yield Reported(number, epoch, value, metrics, chosen=True)
        if epoch == 2 and number % 7 == 3:
            yield Ended(number, "failed", "OutOfMemoryError: the trial takes more than 2.0 GiB")
            return
        if epoch == 2 and number % 4 == 2:
            yield Ended(number, "pruned", "worse than the best third after epoch 2")
            return
    yield Ended(number, "finished")


POPULATION: Mapping[str, Range] = {path: SPACE[path] for path in ("optimizer.lr", "model.dropout")} | {
    "optimizer.momentum": Range(uniform=(0.0, 0.99))
}


def population(*, members: int = 8, epochs: int = 12, interval: int = 3) -> Shown:
    """Members whose worst two take the weights of the best two after each interval."""
    goal, draw, ledger = Goal("val_accuracy", "max"), random.Random(3), Ledger("max")
    for number in range(members):
        params = {
            "optimizer.lr": 10 ** draw.uniform(-4, -1),
            "model.dropout": draw.uniform(0, 0.6),
            "optimizer.momentum": draw.uniform(0, 0.99),
        }
        ledger.apply(Proposed(number, params, f"run/{number:04d}"))
    skill = dict.fromkeys(range(members), 0.0)
    for epoch in range(1, epochs + 1):
        for number in range(members):
            off = abs(math.log10(ledger.trials[number].params["optimizer.lr"]) + 2)
            skill[number] += (1 - skill[number]) * max(0.02, 0.3 - 0.15 * off)
            best = max(ledger.trials[number].values.values(), default=0.0)
            value = skill[number] + draw.gauss(0, 0.005)
            ledger.apply(Reported(number, epoch, value, {"val_accuracy": value}, value > best))
        if epoch % interval == 0 and epoch < epochs:
            for turn in _generation(ledger, skill, epoch=epoch, draw=draw):
                ledger.apply(turn)
    for number in range(members):
        ledger.apply(Ended(number, "finished"))
    return Shown(goal, ledger, POPULATION)


def _generation(
    ledger: Ledger, skill: dict[int, float], *, epoch: int, draw: random.Random
) -> Iterator[Turned]:
    order = sorted(skill, key=lambda number: skill[number])
    sources = dict(zip(order[:2], order[-2:], strict=True))
    for number in sorted(skill):
        source = sources.get(number)
        params = dict(ledger.trials[number if source is None else source].params)
        if source is not None:
            skill[number] = skill[source]
            params["optimizer.lr"] *= draw.choice([0.8, 1.2])
            params["optimizer.momentum"] = min(0.99, params["optimizer.momentum"] * draw.choice([0.8, 1.2]))
        yield Turned(number, epoch, params, source, "among the worst" if source is not None else "goes on")


def trial(number: int, value: float, *, state: str = "finished", **params: Any) -> Trial:
    """A trial with this value and these parameters, whose names have ``__`` for a dot."""
    named = {path.replace("__", "."): given for path, given in params.items()}
    return Trial(
        number,
        named,
        f"run/{number:04d}",
        state=state,  # type: ignore[arg-type]
        epoch=1,
        chosen=1,
        value=value,
        proposed=named,
    )


def ledger_of(*trials: Trial, mode: str = "max", **kwargs: Any) -> Ledger:
    """A ledger that holds these."""
    ledger = Ledger(mode, **kwargs)
    ledger.trials = {trial.number: trial for trial in trials}
    return ledger
