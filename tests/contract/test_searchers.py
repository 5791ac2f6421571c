"""The laws of every searcher."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from nnray.catalog import CATALOG
from nnray.config import Range, active
from nnray.errors import ConfigError
from nnray.runners.sweep.study import Study
from tests.contract.sweep_play import CONDITIONAL, NUMBERS, SPACE, Play, loss, search, size, study_of

SEARCHERS = tuple(CATALOG["searcher"])
KEYS: Mapping[str, dict[str, Any]] = {
    "tpe": {"startup_trials": 4},
    "gp": {"startup_trials": 4},
    "cmaes": {"population": 4},
    "nsga2": {"population": 4},
}
"""So that each begins to learn within a few trials."""

KNOW_CONSTRAINTS = ("tpe", "gp", "nsga2")
KNOW_OBJECTIVES = tuple(name for name in SEARCHERS if name != "cmaes")


@pytest.mark.parametrize("name", SEARCHERS)
def test_proposals_lie_in_their_ranges(name: str, tmp_path: Path) -> None:
    for params, _ in search(study_of(name, tmp_path, seed=0, **KEYS.get(name, {})), trials=8):
        assert list(params) == list(SPACE)
        assert all(SPACE[path].holds(value) for path, value in params.items()), params


@pytest.mark.parametrize("name", SEARCHERS)
def test_what_is_not_tried_is_left_out(name: str, tmp_path: Path) -> None:
    study = study_of(name, tmp_path, seed=0, space=CONDITIONAL, **KEYS.get(name, {}))
    seen = [params for params, _ in search(study, trials=10)]
    assert all(active(params, CONDITIONAL) == params for params in seen)
    assert all(CONDITIONAL[path].holds(params[path]) for params in seen for path in params)
    assert {"momentum" in params for params in seen} >= ({True} if name == "grid" else {True, False})
    for params in seen:
        assert ("decay" in params) is (params.get("layers") == [8, 8])


@pytest.mark.parametrize("name", SEARCHERS)
def test_same_seed_gives_same_trials(name: str, tmp_path: Path) -> None:
    first = search(study_of(name, tmp_path, seed=3, **KEYS.get(name, {})), trials=7)
    assert search(study_of(name, tmp_path, seed=3, **KEYS.get(name, {})), trials=7) == first


@pytest.mark.parametrize("name", SEARCHERS)
def test_another_seed_gives_other_trials(name: str, tmp_path: Path) -> None:
    first, other = (search(study_of(name, tmp_path, seed=seed), trials=3) for seed in (1, 2))
    assert first != other


@pytest.mark.parametrize("name", SEARCHERS)
def test_seeds_of_63_bits_are_taken(name: str, tmp_path: Path) -> None:
    from nnray.registry import build

    for seed in (0, 2**32 - 1, 2**63 - 1):
        build("searcher", {"name": name}, "loss", "min", seed, space=SPACE)


@pytest.mark.parametrize("name", SEARCHERS)
def test_given_points_come_first_and_in_order(name: str, tmp_path: Path) -> None:
    study = study_of(name, tmp_path, seed=0)
    study.first({"lr": 0.01, "kind": "c"})
    study.first({"lr": 0.02, "kind": "a"})
    found = [study.propose()[1] for _ in range(2)]
    assert [(p["lr"], p["kind"]) for p in found] == [(0.01, "c"), (0.02, "a")]


@pytest.mark.parametrize("name", SEARCHERS)
def test_failed_and_pruned_trials_do_not_end_the_search(name: str, tmp_path: Path) -> None:
    play = Play(study_of(name, tmp_path, seed=0, **KEYS.get(name, {})), out=1).run(2 * 12)
    states = [trial.state.name for trial in play.study.inner.get_trials(deepcopy=False)]
    assert [states.count(state) for state in ("COMPLETE", "PRUNED", "FAIL")] == [8, 2, 2]


@pytest.mark.parametrize("out", [1, 3])
@pytest.mark.parametrize("space", [SPACE, CONDITIONAL], ids=["plain", "conditional"])
@pytest.mark.parametrize("name", SEARCHERS)
def test_a_resumed_sweep_proposes_what_an_uninterrupted_one_would_have(
    name: str, space: Mapping[str, Range], out: int, tmp_path: Path
) -> None:
    def new() -> Study:
        return study_of(name, tmp_path, seed=11, space=space, **KEYS.get(name, {}))

    events, cuts = (20, (13,)) if name == "gp" else (30, (1, 8, 9, 21, 28))
    whole = Play(new(), out=out).run(events)
    for cut in cuts:
        resumed = Play(new(), out=out, events=whole.events[:cut]).run(events)
        assert resumed.proposals == whole.proposals, cut


@pytest.mark.parametrize("name", SEARCHERS)
def test_given_points_are_replayed_like_all_others(name: str, tmp_path: Path) -> None:
    def new() -> Study:
        return study_of(name, tmp_path, seed=2, **KEYS.get(name, {}))

    whole = new()
    whole.first({"lr": 0.01, "dropout": 0.1, "width": 3, "kind": "a"})
    whole.first({"lr": 0.02})
    events = Play(whole, out=2).run(18).events
    resumed = Play(new(), out=2, events=events[:9]).run(18)
    assert resumed.events == events


@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_what_a_sampler_noted_for_paths_that_are_not_tried_is_no_memory(name: str, tmp_path: Path) -> None:
    """All that ended had a momentum, so the model proposes one for the trials that are out and have none."""

    def told() -> Study:
        study = study_of(name, tmp_path, seed=6, space=CONDITIONAL, startup_trials=4)
        for place in range(6):
            point = {"lr": 10.0**-place, "dropout": place / 10, "width": 9 * place + 1, "kind": "c"}
            study.add(point | {"momentum": place / 10}, state="finished", values=[float(place)])
        return study

    whole, resumed = told(), told()
    for _ in range(4):
        whole.first({"kind": "a"})
        number, params = whole.propose()
        assert "momentum" not in params
        resumed.replay(number, params)
    assert [resumed.propose() for _ in range(3)] == [whole.propose() for _ in range(3)]


@pytest.mark.parametrize("name", KNOW_OBJECTIVES)
def test_several_objectives_are_taken_and_resumed(name: str, tmp_path: Path) -> None:
    def new() -> Study:
        modes = ("min", "min")
        return study_of(name, tmp_path, seed=4, modes=modes, space=CONDITIONAL, **KEYS.get(name, {}))

    whole = Play(new(), out=2).run(18)
    assert Play(new(), out=2, events=whole.events[:13]).run(18).proposals == whole.proposals
    told = [trial.values for trial in whole.study.inner.trials if trial.state.name == "COMPLETE"]
    assert told
    assert all(len(values) == 2 for values in told)


@pytest.mark.parametrize("name", sorted(set(SEARCHERS) - set(KNOW_OBJECTIVES)))
def test_a_searcher_that_knows_one_objective_says_so(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sweep.search: goes by one metric and knows no objectives"):
        study_of(name, tmp_path, seed=0, modes=("min", "min"))


@pytest.mark.parametrize("name", SEARCHERS)
def test_trials_of_an_earlier_sweep_are_known_and_not_counted(name: str, tmp_path: Path) -> None:
    def new() -> Study:
        study = study_of(name, tmp_path, seed=4, **KEYS.get(name, {}))
        for lr in (1e-3, 2e-3, 3e-3, 4e-3, 5e-3):
            point = {"lr": lr, "dropout": 0.3, "width": 40, "kind": "b"}
            rule = {"width <= 50": -10.0}
            assert study.add(point, state="finished", values=[loss(point)], constraints=rule)
        return study

    whole = Play(new(), out=1).run(16)
    assert [event[1] for event in whole.events if event[0] == "propose"] == list(range(8))
    assert Play(new(), out=1, events=whole.events[:7]).run(16).proposals == whole.proposals


@pytest.mark.parametrize("name", KNOW_CONSTRAINTS)
def test_what_breaks_a_constraint_is_avoided(name: str, tmp_path: Path) -> None:
    """The loss is best at a width of 40; only up to 20 is allowed, which random draws meet in a third."""
    study = study_of(name, tmp_path, seed=1, space=NUMBERS)
    broken = []
    for _ in range(70 if name == "nsga2" else 26):
        number, params = study.propose()
        broken.append(params["width"] > 20)
        rule = {"width <= 20": params["width"] - 20.0}
        study.end(number, "finished", values=[loss(params)], constraints=rule, reason="")
    assert sum(broken[:10]) >= 5
    assert sum(broken[-10:]) <= 4


@pytest.mark.parametrize(
    ("name", "trials", "seeds", "space"),
    [("tpe", 40, 5, SPACE), ("gp", 18, 3, NUMBERS), ("cmaes", 40, 5, NUMBERS), ("nsga2", 80, 7, SPACE)],
)
def test_beats_random_on_a_known_function(
    name: str, trials: int, seeds: int, space: Mapping[str, Range], tmp_path: Path
) -> None:
    """In the median of the seeds."""

    def best(searcher: str) -> float:
        studies = [study_of(searcher, tmp_path, seed=seed, space=space) for seed in range(seeds)]
        return statistics.median(min(value for _, value in search(study, trials=trials)) for study in studies)

    assert best(name) < 0.8 * best("random")


@pytest.mark.parametrize(("name", "trials"), [("tpe", 60), ("nsga2", 150)])
def test_finds_a_better_front_than_random(name: str, trials: int, tmp_path: Path) -> None:
    """By what is missing to the area that the true front dominates; median of 9 seeds."""
    best = [{"lr": 10**-2.5, "dropout": 0.3, "width": w, "kind": k} for w in range(1, 65) for k in "abc"]

    def missing(searcher: str) -> float:
        studies = [study_of(searcher, tmp_path, seed=seed, modes=("min", "min")) for seed in range(9)]
        runs = ([params for params, _ in search(study, trials=trials)] for study in studies)
        return statistics.median(dominated(best) - dominated(run) for run in runs)

    assert 0 < missing(name) < 0.8 * missing("random")


def dominated(seen: list[dict[str, Any]]) -> float:
    """The area between the front and (3, 2) of loss and size."""
    total, floor = 0.0, 2.0
    for x, y in sorted((loss(params), size(params)) for params in seen):
        if x < 3.0 and y < floor:
            total, floor = total + (3.0 - x) * (floor - y), y
    return total


def test_each_searcher_that_learns_is_held_against_random() -> None:
    assert {"tpe", "gp", "cmaes", "nsga2", "random", "grid"} == set(SEARCHERS)


def test_maximizing_is_minimizing_the_negative(tmp_path: Path) -> None:
    down, up = (study_of("tpe", tmp_path, seed=5, modes=(mode,)) for mode in ("min", "max"))
    for _ in range(20):
        (low, params), (high, mirrored) = down.propose(), up.propose()
        assert params == mirrored
        down.end(low, "finished", values=[loss(params)], reason="")
        up.end(high, "finished", values=[-loss(params)], reason="")


@pytest.mark.parametrize("name", SEARCHERS)
def test_a_space_of_one_path_is_searched(name: str, tmp_path: Path) -> None:
    spaces = (Range(uniform=(0.0, 1.0)), Range(choice=["a"]), Range(int=(1, 2)), Range(choice=["a", "b"]))
    for range_ in spaces:
        study = study_of(name, tmp_path, seed=0, space={"x": range_}, **KEYS.get(name, {}))
        for turn in range(7):
            number, params = study.propose()
            assert range_.holds(params["x"])
            study.end(number, "finished", values=[float(turn)], reason="")


def test_cmaes_learns_though_paths_come_and_go(tmp_path: Path) -> None:
    """Optuna's own draws at random for ever once a trial lacks a path that the first ones had."""

    def best(searcher: str, seed: int) -> float:
        study = study_of(searcher, tmp_path, seed=seed, space=CONDITIONAL)
        seen = [params for params, _ in search(study, trials=60)]
        return min(loss({**params, "kind": "b", "momentum": 0.9}) for params in seen)

    found = {name: statistics.median(best(name, seed) for seed in range(5)) for name in ("cmaes", "random")}
    assert found["cmaes"] < 0.5 * found["random"]
    assert math.isfinite(found["cmaes"])
