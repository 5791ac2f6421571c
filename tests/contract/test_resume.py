"""The law of recovery: a sweep cut off after any line of its journal comes to the same end.

It holds for every searcher and every scheduler there is. Trials are a function of what they try,
so that nothing but the sweep's own memory can make a difference.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from nnray.catalog import CATALOG
from nnray.runners.sweep.journal import Decided, Ended, Reported
from tests.unit.sweep.bench import Bench, make_experiment

SEARCHERS, SCHEDULERS = tuple(CATALOG["searcher"]), tuple(CATALOG["scheduler"])
STRIDE = 3
"""Every so many lines is a place to cut; a prime to the lines of an epoch."""
CONDITIONAL = {
    "optimizer.lr": {"loguniform": [1e-4, 1e-1]},
    "optimizer.name": {"choice": ["sgd", "adam"]},
    "optimizer.momentum": {"uniform": [0.0, 0.9], "when": {"optimizer.name": "sgd"}},
}


def sweep(folder: Path, *, concurrency: int = 1, **fields: Any) -> Bench:
    folder.mkdir(parents=True, exist_ok=True)
    live = Bench(make_experiment(**fields), folder)
    live.begin()
    live.run(concurrency=concurrency)
    return live


def came_to(live: Bench) -> list[Mapping[str, Any]]:
    """All that is known of the trials but the time of day; NaN equals itself in it."""
    trials = [asdict(trial) for trial in live.ledger.trials.values()]
    return [
        json.loads(json.dumps(trial, default=str), parse_float=str) | _NO_TIMES
        for trial in map(_timeless, trials)
    ]


_NO_TIMES = {"started_ms": 0, "ended_ms": 0}


def _timeless(trial: dict[str, Any]) -> dict[str, Any]:
    return trial | {"lineage": [turn | {"time_ms": 0} for turn in trial["lineage"]]}


def memory(live: Bench) -> str:
    """All that the scheduler knows."""
    names = getattr(live.scheduler, "__slots__", None) or vars(live.scheduler)
    return repr({name: getattr(live.scheduler, name) for name in names})


def study_of(live: Bench) -> list[tuple[int, str, Any]]:
    return [(t.number, t.state.name, t.values) for t in live.study.inner.get_trials(deepcopy=False)]


def cut_anywhere(whole: Bench, folder: Path, *, concurrency: int, **fields: Any) -> list[Bench]:
    """The same sweep, cut off in many places and gone on with."""
    lines = (whole.journal._path).read_text().splitlines(keepends=True)
    resumed = []
    for cut in range(1, len(lines), STRIDE):
        target = folder / f"cut{cut}"
        target.mkdir(parents=True)
        torn = lines[cut][: len(lines[cut]) // 2]  # a kill may leave half a line
        (target / "journal.jsonl").write_text("".join(lines[:cut]) + torn)
        resumed.append(sweep(target, concurrency=concurrency, **fields))
    return resumed


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_comes_to_the_same_end(scheduler: str, tmp_path: Path) -> None:
    fields = {"scheduler": _spec(scheduler), "search": "random", "trials": 6}
    whole = sweep(tmp_path / "whole", **fields)
    for cut in cut_anywhere(whole, tmp_path, concurrency=1, **fields):
        assert came_to(cut) == came_to(whole)
        assert study_of(cut) == study_of(whole)
        assert getattr(cut.scheduler, "rungs", None) == getattr(whole.scheduler, "rungs", None)


@pytest.mark.parametrize("search", SEARCHERS)
def test_every_searcher_comes_to_the_same_end(search: str, tmp_path: Path) -> None:
    trials = 6 if search == "gp" else 14
    fields = {"search": _spec(search), "scheduler": "none", "trials": trials}
    whole = sweep(tmp_path / "whole", **fields)
    for cut in cut_anywhere(whole, tmp_path, concurrency=1, **fields):
        assert came_to(cut) == came_to(whole)
        assert study_of(cut) == study_of(whole)


@pytest.mark.parametrize("search", ["tpe", "cmaes", "nsga2"])
def test_conditional_spaces_come_to_the_same_end(search: str, tmp_path: Path) -> None:
    fields = {"search": search, "scheduler": "asha", "trials": 12, "space": CONDITIONAL}
    whole = sweep(tmp_path / "whole", **fields)
    for cut in cut_anywhere(whole, tmp_path, concurrency=1, **fields):
        assert came_to(cut) == came_to(whole)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_with_several_at_a_time_nothing_is_lost_or_doubled(scheduler: str, tmp_path: Path) -> None:
    """Which trial reports first may change what is stopped; what was written down stays."""
    fields = {"scheduler": _spec(scheduler), "search": "tpe", "trials": 6}
    whole = sweep(tmp_path / "whole", concurrency=3, **fields)
    for cut in cut_anywhere(whole, tmp_path, concurrency=3, **fields):
        events = list(cut.journal.events())
        ended = [event.trial for event in events if isinstance(event, Ended)]
        assert sorted(ended) == list(range(6))
        reported = [(e.trial, e.epoch) for e in events if isinstance(e, Reported)]
        assert len(set(reported)) == len(reported)
        decided = [(e.trial, e.epoch) for e in events if isinstance(e, Decided)]
        assert len(set(decided)) == len(decided)
        assert [state for _, state, _ in study_of(cut)].count("RUNNING") == 0


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_replaying_a_finished_sweep_rebuilds_it(scheduler: str, tmp_path: Path) -> None:
    fields = {"scheduler": _spec(scheduler), "search": "random", "trials": 6}
    whole = sweep(tmp_path / "whole", concurrency=2, **fields)
    again = Bench(make_experiment(**fields), tmp_path / "whole")
    again.conductor.resume()
    assert again.events == []
    assert came_to(again) == came_to(whole)
    assert study_of(again) == study_of(whole)
    assert memory(again) == memory(whole)


def test_a_population_does_not_depend_on_how_many_run_at_a_time(tmp_path: Path) -> None:
    fields = {"scheduler": _spec("pbt"), "search": "random", "trials": 6}
    runs = [sweep(tmp_path / str(n), concurrency=n, **fields) for n in (1, 2, 5)]
    assert came_to(runs[0]) == came_to(runs[1]) == came_to(runs[2])
    assert any(trial.lineage for trial in runs[0].ledger.trials.values())


def _spec(name: str) -> Any:
    """A plug-in with keys that make it do something in a sweep this small."""
    return {"pbt": {"name": "pbt", "interval": 1}, "grid": {"name": "grid", "points": 4}}.get(name, name)


def test_a_trial_with_nan_fails_on_resumption_too(tmp_path: Path) -> None:
    """Cut off between the report and the failure."""
    live = Bench(make_experiment(search="random"), tmp_path)
    live.begin()
    live.run_trial(0.5, math.nan)
    lines = live.journal._path.read_text().splitlines(keepends=True)
    assert json.loads(lines[-1])["event"] == "ended"
    live.journal._path.write_text("".join(lines[:-1]))
    again = Bench(make_experiment(search="random"), tmp_path)
    again.conductor.resume()
    assert again.ledger.trials[0].state == "failed"
    assert again.ledger.trials[0].reason == live.ledger.trials[0].reason
