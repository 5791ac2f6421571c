"""The Optuna study: what goes in comes out, and it is there in the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from nnray.config import Range
from nnray.runners.sweep.searchers import random
from nnray.runners.sweep.study import Space, Study, open_study

LISTS = {"model.hidden": Range(choice=[[64], [64, 64], None])}


def open_at(path: Path, space: Mapping[str, Range], *, mode: str = "max") -> Study:
    return open_study(path, name="tiny", mode=mode, space=space, sampler=random("v", mode, 1))


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
def test_a_range_is_one_distribution(range_: Range, text: str) -> None:
    assert str(Space({"x": range_}).distributions["x"]) == text


@pytest.mark.parametrize("value", [[64], [64, 64], None])
def test_values_that_optuna_cannot_hold_go_round(value: Any) -> None:
    space = Space(LISTS)
    assert space.decode(space.encode({"model.hidden": value})) == {"model.hidden": value}


def test_lists_are_proposed_as_lists(tmp_path: Path) -> None:
    study = open_at(tmp_path / "study.journal", LISTS)
    study.first({"model.hidden": [64, 64]})
    assert study.propose()[1] == {"model.hidden": [64, 64]}


def test_another_process_opens_the_file_by_name(tmp_path: Path) -> None:
    study = open_at(tmp_path / "study.journal", {"x": Range(uniform=(0.0, 1.0))})
    number, params = study.propose()
    study.report(number, 1, 0.25)
    study.end(number, "finished", value=0.75, reason="")
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    trial = optuna.load_study(study_name="tiny", storage=storage).trials[0]
    assert trial.params == params
    assert (trial.value, trial.intermediate_values) == (0.75, {1: 0.25})


def test_a_study_that_is_there_is_gone_on_with(tmp_path: Path) -> None:
    space = {"x": Range(uniform=(0.0, 1.0))}
    first = open_at(tmp_path / "study.journal", space)
    first.end(first.propose()[0], "finished", value=0.1, reason="")
    assert open_at(tmp_path / "study.journal", space).propose()[0] == 1


def test_a_pruned_trial_counts_with_the_best_value_it_had(tmp_path: Path) -> None:
    study = open_at(tmp_path / "study.journal", {"x": Range(uniform=(0.0, 1.0))})
    for values, state in (((0.2, 0.5, 0.4), "pruned"), ((0.3,), "finished"), ((0.9,), "failed")):
        number, _ = study.propose()
        for epoch, value in enumerate(values, 1):
            study.report(number, epoch, value)
        study.end(number, state, value=values[-1], reason="")  # type: ignore[arg-type]
    assert [trial.value for trial in study.with_pruned().trials] == [0.5, 0.3]


def test_a_trial_without_a_value_is_not_told_as_complete(tmp_path: Path) -> None:
    study = open_at(tmp_path / "study.journal", {"x": Range(uniform=(0.0, 1.0))})
    study.end(study.propose()[0], "finished", value=float("nan"), reason="")
    assert study.inner.trials[0].state.name == "FAIL"
