"""What a page shows of a sweep: its trials as a table, over time, and by what was tried."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.trial import TrialState, create_trial

from nnray.config import Experiment
from nnray.runners.report.account import Account
from nnray.runners.report.chart import Line, line_chart
from nnray.runners.report.dots import Dot, bar_chart, dot_chart
from nnray.runners.report.markup import Html, facts, grid, join, notice, table
from nnray.runners.report.page import Section
from nnray.runners.report.side_by_side import side_by_side
from nnray.runners.sweep.best_first import state_of
from nnray.runners.sweep.findings import broken, edges, failures, importance, judged, saved
from nnray.runners.sweep.goal import Goal
from nnray.runners.sweep.ledger import Ledger, Trial
from nnray.runners.sweep.plots.canvas import scale_of
from nnray.runners.sweep.plots.history import best_so_far, groups
from nnray.runners.sweep.plots.picture import Picture
from nnray.runners.sweep.plots.scale import Scale
from nnray.runners.sweep.space import Space
from nnray.runners.sweep.words import all_paths, number, short_names, words

_MOST_SLICES = 12
_MOST_CURVES = 60
"""More lines over each other can't be told apart."""


def trials(account: Account) -> Iterator[Section]:
    """The sections on a sweep's trials."""
    ledger, experiment = account.ledger, account.experiment
    if ledger is None or experiment is None or experiment.sweep is None:
        return
    if not ledger.trials:
        yield Section("Trials", notice("No trial has begun."))
        return
    goal = Goal.of(experiment.sweep)
    picture = Picture(experiment.sweep.space, goal, ledger, importance_of(experiment, ledger))
    period = experiment.sweep.period
    yield Section("What the search taught", join(_lessons(experiment, ledger)))
    yield Section("Trials", _table(ledger, goal, period))
    if picture.valued:
        yield Section("Search", join(_charts(picture, period)))


def importance_of(experiment: Experiment, ledger: Ledger) -> dict[str, float]:
    """The share of each parameter in what sets the best trials apart; empty with too few trials."""
    assert experiment.sweep is not None
    mode, space = Goal.of(experiment.sweep).mode, Space(experiment.sweep.space)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
    known = space.distributions
    for trial in ledger.trials.values():
        value = _judged_by(trial, mode)
        params = space.encode(trial.proposed or trial.params)
        distributions = {path: known[path] for path in params}
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        study.add_trial(create_trial(state=state, params=params, distributions=distributions, value=value))
    return importance(study)


def _judged_by(trial: Trial, mode: str) -> float | None:
    """The value of a trial; the best that it had, where it was stopped early."""
    values = [value for value in trial.values.values() if math.isfinite(value)]
    if trial.state == "pruned" and values:
        return max(values) if mode == "max" else min(values)
    return trial.value if trial.state == "finished" and math.isfinite(trial.value) else None


def _lessons(experiment: Experiment, ledger: Ledger) -> Iterator[Html]:
    config, best = experiment.sweep, ledger.best
    assert config is not None
    known: dict[str, Any] = {"Trials": ", ".join(f"{n} {state}" for state, n in ledger.counts.items())}
    if best is not None:
        values = {config.metric: best.value, **best.objectives}
        told = ", ".join(f"{name} {number(value)}" for name, value in values.items())
        known["Best"] = f"trial {best.number}: {told} at {config.period} {best.chosen}"
        known |= {path: number(value) for path, value in best.params.items()}
    spared = saved(experiment.planned, ledger, resource=config.resource)
    if spared.epochs:
        known["Saved"] = (
            f"{spared.epochs} of {spared.of} {config.period}s ({spared.percent:.0f} %) by stopping early"
        )
    for rule, count in broken(ledger).items():
        known[f"Constraint {rule}"] = f"broken by {count} of {len(judged(ledger))} trials"
    yield facts(known)
    for edge in edges(config.space, best.params) if best is not None else ():
        yield notice(edge)
    for reason, count in failures(ledger).items():
        yield notice(f"{count} failed: {reason}", bad=True)


def _table(ledger: Ledger, goal: Goal, period: str) -> Html:
    ranked = ledger.ranked
    paths = short_names(all_paths(trial.params for trial in ranked))
    reasons = any(trial.reason for trial in ranked)
    head = ["trial", "state", f"{period}s", goal.metric, *goal.objectives, *paths.values(), "seconds"]
    rows = [
        [
            t.number,
            state_of(t),
            t.epoch,
            _known(t.value),
            *(_known(t.objectives.get(name, math.nan)) for name in goal.objectives),
            *(_cell(t.params, path) for path in paths),
            _seconds(t),
            *([t.reason] if reasons else []),
        ]
        for t in ranked
    ]
    return table([*head, *(["reason"] if reasons else [])], rows, caption="Best first", sortable=True)


def _seconds(trial: Trial) -> tuple[float, str] | None:
    seconds = (trial.ended_ms - trial.started_ms) / 1000
    return (seconds, f"{seconds:.1f}") if trial.ended_ms and trial.started_ms else None


def _cell(params: Mapping[str, Any], path: str) -> object:
    value = params.get(path)
    return value if isinstance(value, int | float) else None if path not in params else number(value)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _charts(picture: Picture, period: str) -> Iterator[Html]:
    charts = [_history(picture), _learning(picture, period)]
    if picture.importance:
        names = {picture.names.get(path, path): share for path, share in picture.importance.items()}
        charts.append(bar_chart(names, title=f"Importance for {picture.goal.metric} (PED-ANOVA)"))
    yield grid(charts)
    if len(picture.valued) > 1:
        yield side_by_side(picture)
    yield grid(_slice(picture, path) for path in picture.leading(_MOST_SLICES))


def _history(picture: Picture) -> Html:
    dots = {
        f"{name} ({len(group)})": [_dot(t, t.number) for t in group]
        for name, (group, _) in groups(picture).items()
    }
    numbers, best = best_so_far(picture)
    return dot_chart(
        dots,
        title="Trials in their order; the line is the best so far",
        x_label="trial",
        y_label=picture.goal.metric,
        log_y=_is_log(picture),
        steps=list(zip(map(float, numbers), best, strict=True)),
    )


def _dot(trial: Trial, x: float) -> Dot:
    return Dot(float(x), trial.value, f"trial {trial.number}: {number(trial.value)}; {words(trial.params)}")


def _learning(picture: Picture, period: str) -> Html:
    """The metric of every trial as it trained, the best one first."""
    ranked = picture.ranked[:_MOST_CURVES]
    best = picture.ledger.best
    first = [best, *(t for t in ranked if t is not best)] if best is not None else ranked
    lines = [Line(f"trial {t.number}", list(t.values), list(t.values.values())) for t in first if t.values]
    return line_chart(
        lines,
        title=f"{picture.goal.metric} as trials trained; the strong line is the best",
        x_label=period,
        y_label=picture.goal.metric,
        log_y=_is_log(picture),
        leading=1,
    )


def _slice(picture: Picture, path: str) -> Html:
    scale = Scale(picture.space[path])
    shown = [trial for trial in picture.valued if path in trial.params]
    best = picture.ledger.best
    dots = {
        "others": [_dot(t, scale.scattered(t.params[path], t.number)) for t in shown if t is not best],
        "best": [_dot(t, scale.scattered(t.params[path], t.number)) for t in shown if t is best],
    }
    return dot_chart(
        dots,
        title=picture.names[path],
        x_label=path,
        y_label=picture.goal.metric,
        log_x=picture.space[path].is_log,
        log_y=_is_log(picture),
        ticks=scale.ticks,
    )


def _is_log(picture: Picture) -> bool:
    return scale_of([t.value for t in picture.valued]) == "log"
