"""A name for a run: the same experiment under it is the same run, another one an error."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import nnray
from nnray.config import Experiment
from nnray.errors import RunError
from nnray.runners.folder import RunFolder, runs
from nnray.runners.once import begin

Make = Callable[..., Experiment]


def test_without_a_name_every_run_is_a_new_one(make_experiment: Make) -> None:
    assert begin(make_experiment(), "train") != begin(make_experiment(), "train")
    assert not Path("runs/.once.lock").exists()


def test_the_same_name_is_the_same_run(make_experiment: Make) -> None:
    first = begin(make_experiment(), "train", once="a", search=["/x"], files={"more.json": {"b": 1}})
    assert (first.path / "more.json").exists()
    assert begin(make_experiment(), "train", once="a") == first
    assert begin(make_experiment(), "train", once="b") != first


def test_another_experiment_or_verb_under_a_name_is_an_error(make_experiment: Make) -> None:
    first = begin(make_experiment(), "train", once="a")
    with pytest.raises(RunError, match=f"'a' is the name of {first.name}, which is another experiment"):
        begin(make_experiment(epochs=5), "train", once="a")
    with pytest.raises(RunError, match="which is a train"):
        begin(make_experiment(), "sweep", once="a")
    assert len(list(runs(Path("runs")))) == 1


@pytest.mark.parametrize("name", ["", "a/b", ".a", "a\nb"])
def test_a_name_that_is_none_is_an_error(make_experiment: Make, name: str) -> None:
    with pytest.raises(RunError, match="a name has no"):
        begin(make_experiment(), "train", once=name)


def test_of_many_at_once_one_makes_the_run(make_experiment: Make) -> None:
    found: list[RunFolder] = []
    experiment = make_experiment()
    threads = [
        threading.Thread(target=lambda: found.append(begin(experiment, "train", once="a"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_run_that_has_ended_gives_its_result_again(make_experiment: Make) -> None:
    first = nnray.train(make_experiment(epochs=1), once="nightly", quiet=True)
    again = nnray.train(make_experiment(epochs=1), once="nightly", quiet=True)
    assert again.to_dict() == first.to_dict()
    assert nnray.train(make_experiment(epochs=1), quiet=True).run_id != first.run_id
