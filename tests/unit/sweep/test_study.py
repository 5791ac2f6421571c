"""The Optuna study: what goes in comes out, it is there in the file, and nothing is read back from it."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from nnray.config import Range
from nnray.runners.sweep.searchers import cmaes, grid, nsga2, random
from nnray.runners.sweep.space import Space
from nnray.runners.sweep.study import Study, open_study

LISTS = {"model.hidden": Range(choice=[[64], [64, 64], None])}
X = {"x": Range(uniform=(0.0, 1.0))}
XY = X | {"y": Range(uniform=(0.0, 1.0))}
CONDITIONAL = {
    "momentum": Range(uniform=(0.0, 0.9), when={"name": "sgd"}),
    "name": Range(choice=["adam", "sgd"]),
}


def open_at(path: Path, space: Mapping[str, Range] = X, *, modes: Sequence[str] = ("max",)) -> Study:
    def make(number: int) -> BaseSampler:
        return random("v", modes[0], number)

    return open_study(path, name="tiny", modes=modes, space=space, make_sampler=make)


@pytest.mark.parametrize(
    ("range_", "text"),
    [
        (Range(uniform=(0.0, 0.6)), "FloatDistribution(high=0.6, log=False, low=0.0, step=None)"),
        (Range(loguniform=(1e-4, 0.1)), "FloatDistribution(high=0.1, log=True, low=0.0001, step=None)"),
        (Range(uniform=(0.0, 1.0), step=0.3), "FloatDistribution(high=0.9, log=False, low=0.0, step=0.3)"),
        (Range(int=(1, 10), step=4.0), "IntDistribution(high=9, log=False, low=1, step=4)"),
        (Range(logint=(8, 512)), "IntDistribution(high=512, log=True, low=8, step=1)"),
        (Range(choice=["sgd", "adam"]), "CategoricalDistribution(choices=('sgd', 'adam'))"),
        (Range(choice=[[8], None]), "CategoricalDistribution(choices=('[8]', 'null'))"),
    ],
)
def test_a_range_is_one_distribution(range_: Range, text: str, tmp_path: Path) -> None:
    assert str(Space({"x": range_}).distributions["x"]) == text
    study = open_at(tmp_path / "s", {"x": range_})
    assert range_.holds(study.propose()[1]["x"])
    assert str(study.inner.trials[0].distributions["x"]) == text


@pytest.mark.parametrize("value", [[64], [64, 64], None])
def test_values_that_optuna_cannot_hold_go_round(value: Any) -> None:
    space = Space(LISTS)
    assert space.decode(space.encode({"model.hidden": value})) == {"model.hidden": value}


def test_lists_are_proposed_as_lists(tmp_path: Path) -> None:
    study = open_at(tmp_path / "study.journal", LISTS)
    study.first({"model.hidden": [64, 64]})
    assert study.propose()[1] == {"model.hidden": [64, 64]}


def test_values_given_for_paths_that_are_not_tried_are_left_out(tmp_path: Path) -> None:
    study = open_at(tmp_path / "s", CONDITIONAL)
    study.first({"name": "adam", "momentum": 0.5, "other": 1})
    study.first({"name": "sgd", "momentum": 0.5})
    assert [study.propose()[1] for _ in range(2)] == [{"name": "adam"}, {"momentum": 0.5, "name": "sgd"}]


def test_another_process_opens_the_file_by_name(tmp_path: Path) -> None:
    study = open_at(tmp_path / "study.journal")
    number, params = study.propose()
    study.report(number, 1, 0.25)
    study.end(number, "finished", values=[0.75], constraints={"size <= 1": -0.5}, reason="")
    trial = reread(tmp_path / "study.journal").trials[0]
    assert trial.params == params
    assert (trial.value, trial.intermediate_values) == (0.75, {1: 0.25})
    assert trial.constraints == {"size <= 1": -0.5}


def reread(path: Path) -> optuna.Study:
    return optuna.load_study(study_name="tiny", storage=JournalStorage(JournalFileBackend(str(path))))


def test_a_file_that_is_there_is_replaced_and_never_read(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    open_at(path).propose()
    assert open_at(path).propose()[0] == 0
    assert len(reread(path).trials) == 1
    path.write_text("{not json")
    assert open_at(path).propose()[0] == 0


def test_a_link_that_is_there_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "study.journal"
    victim.write_text("mine")
    path.symlink_to(victim)
    open_at(path).propose()
    assert victim.read_text() == "mine"


class Bomb:
    """A pickle that leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_pickles_of_the_file_are_never_loaded(tmp_path: Path) -> None:
    """CMA-ES keeps its state as pickles in the study: a stranger's file must not reach it."""
    path, mark = tmp_path / "study.journal", tmp_path / "ran"

    def proposals(*, meddle: bool) -> list[dict[str, Any]]:
        def make(number: int) -> BaseSampler:
            return cmaes("v", "max", number, space=XY, population=4)

        study = open_study(path, name="tiny", modes=["max"], space=XY, make_sampler=make)
        seen = []
        for _ in range(12):
            number, params = study.propose()
            study.end(number, "finished", values=[params["x"] - params["y"]], reason="")
            seen.append(params)
            if meddle:
                path.write_text(booby_trapped(path.read_text(), mark))
        return seen

    assert proposals(meddle=True) == proposals(meddle=False)
    assert "cma:optimizer:0" in path.read_text()
    assert not mark.exists()


def booby_trapped(text: str, mark: Path) -> str:
    bomb = pickle.dumps(Bomb(mark)).hex()
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        for key in line.get("system_attr", {}):
            if key.startswith("cma:optimizer"):
                line["system_attr"][key] = bomb
    return "".join(f"{json.dumps(line)}\n" for line in lines)


def test_what_was_replayed_is_in_the_new_file(tmp_path: Path) -> None:
    first, again = open_at(tmp_path / "a", CONDITIONAL), open_at(tmp_path / "b", CONDITIONAL)
    for _ in range(6):
        number, params = first.propose()
        again.replay(number, params)
        for study in (first, again):
            study.report(number, 1, 0.5)
            study.end(number, "finished", values=[0.5], reason="well")
    told = [
        [(t.params, t.value, t.intermediate_values, t.user_attrs) for t in s.inner.trials]
        for s in (first, again)
    ]
    assert told[0] == told[1]
    assert again.propose() == first.propose()


def test_replay_keeps_the_values_even_where_the_sampler_would_propose_others(tmp_path: Path) -> None:
    """As after a change of Optuna's version."""
    space = {"x": Range(uniform=(0.0, 1.0))}
    for searcher in (random, lambda m, o, s: nsga2(m, o, s, population=2)):
        study = open_study(
            tmp_path / "s",
            name="tiny",
            modes=["max"],
            space=space,
            make_sampler=lambda number, make=searcher: make("v", "max", number),  # type: ignore[misc]
        )
        for number in range(6):
            study.replay(number, {"x": number / 10})
            study.end(number, "finished", values=[1.0], reason="")
        assert [trial.params["x"] for trial in study.inner.trials] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_a_pruned_trial_counts_with_the_best_value_it_had(tmp_path: Path) -> None:
    study = open_at(tmp_path / "study.journal")
    for values, state in (((0.2, 0.5, 0.4), "pruned"), ((0.3,), "finished"), ((0.9,), "failed")):
        number, _ = study.propose()
        for epoch, value in enumerate(values, 1):
            study.report(number, epoch, value)
        study.end(number, state, values=values[-1:], reason="")  # type: ignore[arg-type]
    assert [(t.number, t.value) for t in study.with_pruned().trials] == [(0, 0.5), (1, 0.3), (2, None)]


def test_with_several_objectives_the_copy_goes_by_the_metric(tmp_path: Path) -> None:
    study = open_at(tmp_path / "study.journal", modes=["max", "min"])
    for values, state in (([0.5, 9.0], "finished"), ([0.3, 1.0], "pruned"), ([0.4, math.nan], "finished")):
        number, _ = study.propose()
        study.report(number, 1, values[0])
        study.end(number, state, values=values, reason="")  # type: ignore[arg-type]
    copy = study.with_pruned()
    assert (copy.direction.name, [trial.value for trial in copy.trials]) == ("MAXIMIZE", [0.5, None, None])
    assert [trial.state.name for trial in study.inner.trials] == ["COMPLETE", "PRUNED", "FAIL"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_trial_without_a_value_is_not_told_as_complete(value: float, tmp_path: Path) -> None:
    study = open_at(tmp_path / "study.journal")
    study.end(study.propose()[0], "finished", values=[value], reason="")
    assert study.inner.trials[0].state.name == "FAIL"


def test_violations_are_held_within_what_samplers_can_reckon_with(tmp_path: Path) -> None:
    study = open_at(tmp_path / "study.journal")
    given = {"a": math.inf, "b": -math.inf, "c": math.nan, "d": 0.5}
    study.end(study.propose()[0], "finished", values=[0.5], constraints=given, reason="")
    assert study.inner.trials[0].constraints == {"a": 1e30, "b": -1e30, "c": 1e30, "d": 0.5}


def test_an_earlier_trial_is_taken_where_it_lies_in_the_space(tmp_path: Path) -> None:
    study = open_at(tmp_path / "s", CONDITIONAL)
    assert study.add({"name": "sgd", "momentum": 0.5}, state="finished", values=[0.5])
    assert study.add({"name": "adam"}, state="pruned", values=[0.25], reported={1: 0.25})
    for params in ({"name": "sgd"}, {"name": "sgd", "momentum": 2.0}, {"name": "adam", "momentum": 0.5}, {}):
        assert not study.add(params, state="finished", values=[0.5])
    assert not study.add({"name": "adam"}, state="failed", values=[0.5])
    assert not study.add({"name": "adam"}, state="finished", values=[math.nan])
    assert [trial.state.name for trial in study.inner.trials] == ["COMPLETE", "PRUNED"]
    assert study.propose()[0] == 0
    assert [(trial.number, trial.value) for trial in study.with_pruned().trials] == [(0, None)]


def test_genetic_search_counts_earlier_trials_as_its_first_generation(tmp_path: Path) -> None:
    study = open_study(
        tmp_path / "s",
        name="tiny",
        modes=["max"],
        space=XY,
        make_sampler=lambda number: nsga2("v", "max", number, population=4),
    )
    for place in range(4):
        study.add({"x": 0.5, "y": place / 10}, state="finished", values=[0.5])
    assert any(study.propose()[1]["x"] == 0.5 for _ in range(4))


def test_only_a_grid_has_a_size(tmp_path: Path) -> None:
    assert open_at(tmp_path / "s").size is None
    study = open_study(
        tmp_path / "s",
        name="tiny",
        modes=["max"],
        space=CONDITIONAL,
        make_sampler=lambda number: grid("v", "max", number, space=CONDITIONAL, points=4),
    )
    assert study.size == 5
    study.add({"name": "adam"}, state="finished", values=[0.5])
    assert study.size == 4
    seen = [study.propose()[1] for _ in range(4)]
    assert sorted(point["momentum"] for point in seen) == pytest.approx([0.0, 0.3, 0.6, 0.9])
    assert study.size == 4


def test_the_file_grows_and_memory_does_not(tmp_path: Path) -> None:
    study = open_at(tmp_path / "s")
    for _ in range(20):
        study.end(study.propose()[0], "finished", values=[0.5], reason="")
    file: Any = study.inner._storage._backend  # type: ignore[attr-defined]
    assert not file._unread
    assert len((tmp_path / "s").read_text().splitlines()) == file._count
