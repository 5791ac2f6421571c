from __future__ import annotations

from typing import Any

import pytest

from nnray.config import Experiment, Range, parse
from nnray.errors import ConfigError

pytestmark = pytest.mark.usefixtures("fakes")
BASE: dict[str, Any] = {"name": "x", "data": {"name": "tiny", "augment": ["flip"]}, "model": "mlp"}


def with_space(space: Any, **rest: Any) -> Experiment:
    return parse(BASE | {"sweep": {"space": space, **rest}})


def problems_of(space: Any, **rest: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        with_space(space, **rest)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("path", "range_"),
    [
        ("optimizer.lr", {"loguniform": [1e-5, 1e-1]}),
        ("optimizer.lr", {"loguniform": [0.001, 1]}),
        ("model.dropout", {"uniform": [0.0, 0.6]}),
        ("model.dropout", {"uniform": [0, 0.5], "step": 0.1}),
        ("model.norm", {"choice": ["none", "batch"]}),
        ("model.hidden", {"choice": [[64], [128, 64]]}),
        ("training.batch_size", {"logint": [16, 256]}),
        ("training.epochs", {"int": [2, 10], "step": 2}),
        ("training.max_grad_norm", {"choice": [None, 1.0]}),
        ("training.early_stopping.patience", {"int": [1, 5]}),
        ("optimizer.name", {"choice": ["adam", "sgd"]}),
        ("task.label_smoothing", {"uniform": [0, 0.2]}),
        ("schedule.warmup", {"uniform": [0, 2]}),
        ("data.augment.0.p", {"uniform": [0.1, 0.9]}),
        ("data.validation", {"uniform": [0.1, 0.3]}),
        ("data.classes", {"int": [2, 5]}),
        ("seed", {"int": [0, 9]}),
    ],
)
def test_a_path_may_name_any_field_that_a_trial_can_change(path: str, range_: dict[str, Any]) -> None:
    exp = with_space({path: range_})
    assert exp.sweep is not None
    assert list(exp.sweep.space) == [path]


@pytest.mark.parametrize(
    ("path", "range_", "expected"),
    [
        ("optimizer.lrr", {"uniform": [0, 1]}, "optimizer 'adam' has no 'lrr'; did you mean 'lr'?"),
        ("optimiser.lr", {"uniform": [0, 1]}, "an experiment has no 'optimiser'; did you mean 'optimizer'?"),
        ("training.batchsize", {"int": [1, 2]}, "training has no 'batchsize'; did you mean 'batch_size'?"),
        ("training", {"int": [1, 2]}, "it is a whole section; one of its fields is training.epochs"),
        ("model", {"choice": ["mlp"]}, "it is a whole section; one of its fields is model.name"),
        ("training.epochs.x", {"int": [1, 2]}, "training.epochs is a value without fields"),
        ("name", {"choice": ["a", "b"]}, "'name' belongs to the sweep as a whole"),
        ("sweep.trials", {"int": [1, 2]}, "'sweep' belongs to the sweep as a whole"),
        ("tracking.dir", {"choice": ["a"]}, "'tracking' belongs to the sweep as a whole"),
        ("data.augment.3.p", {"uniform": [0, 0.5]}, "there is no data.augment.3"),
        ("data.augment.x.p", {"uniform": [0, 0.5]}, "data.augment is a value without fields"),
        ("", {"uniform": [0, 1]}, "an experiment has no ''"),
        ("optimizer.", {"uniform": [0, 1]}, "optimizer 'adam' has no ''"),
        ("schedule.num_steps", {"int": [1, 2]}, "schedule 'constant' has no 'num_steps'"),
    ],
)
def test_a_path_that_names_no_field_is_told(path: str, range_: dict[str, Any], expected: str) -> None:
    (found,) = problems_of({path: range_})
    assert found.startswith(f"sweep.space.{path}: names no field: ")
    assert expected in found


@pytest.mark.parametrize(
    ("path", "range_", "expected"),
    [
        ("optimizer.lr", {"uniform": [0.0, 0.1]}, "uniform: must be a finite number above 0 (got 0.0)"),
        ("model.dropout", {"uniform": [0.0, 1.0]}, "must be a number at least 0 and below 1 (got 1.0)"),
        ("training.batch_size", {"uniform": [1, 64]}, "uniform: must be an integer above 0 (got 1.0)"),
        ("training.batch_size", {"int": [0, 64]}, "int: must be an integer above 0 (got 0)"),
        (
            "model.norm",
            {"choice": ["none", "bach"]},
            "choice: must be one of none, batch, group (got 'bach')",
        ),
        ("model.hidden", {"choice": [[64], 64]}, "choice: must be a list of integers above 0 (got 64)"),
        ("optimizer.name", {"choice": ["adam", "sdg"]}, "no optimizer 'sdg'; did you mean 'sgd'?"),
        ("optimizer.name", {"int": [1, 2]}, "int: must be the name of an optimizer (got 1)"),
        ("model.name", {"choice": ["mlp", "named"]}, "with 'named', arch: is missing"),
        ("data.validation", {"uniform": [0.5, 1.5]}, "must be a fraction above 0 and below 1"),
        ("training.device", {"choice": ["cpu", "gpu"]}, "must be auto, cpu, cuda, cuda:N or mps (got 'gpu')"),
    ],
)
def test_both_ends_and_every_choice_are_checked(path: str, range_: dict[str, Any], expected: str) -> None:
    found = problems_of({path: range_})
    assert all(text.startswith(f"sweep.space.{path}: ") for text in found)
    assert any(expected in text for text in found)


@pytest.mark.parametrize(
    ("range_", "expected"),
    [
        ({"uniform": [0.6, 0.0]}, "uniform [0.6, 0] is reversed: give the low end, then the high end"),
        ({"uniform": [0.5, 0.5]}, "uniform [0.5, 0.5] holds one value only"),
        ({"loguniform": [0.0, 0.5]}, "loguniform [0, 0.5] needs a low end above 0"),
        ({"logint": [0, 5]}, "logint [0, 5] needs a low end above 0"),
        ({"choice": []}, "choice is empty"),
        ({"choice": [0.1, 0.1]}, "choice holds 0.1 twice"),
        ({}, "must have exactly one of uniform, loguniform, int, logint, choice (got none of them)"),
        ({"uniform": [0, 1], "int": [0, 1]}, "exactly one of"),
        ({"uniform": [0, 0.5], "step": 0}, "step: must be a finite number above 0 or null (got 0)"),
        ({"uniform": [0, 0.5], "step": 0.6}, "the step 0.6 is wider than the range"),
        ({"int": [0, 5], "step": 0.5}, "the step of an int range must be an integer"),
        ({"loguniform": [0.1, 0.5], "step": 0.1}, "step is for uniform and int, not for loguniform"),
        ({"uniform": [0.1]}, "uniform.1: is missing; it must be a finite number"),
        ({"uniform": [0.1, "0.2"]}, "uniform.1: must be a finite number (got '0.2')"),
        ({"uniform": [0.1, float("inf")]}, "uniform.1: must be a finite number (got inf)"),
        ({"int": [1, 2.5]}, "int.1: must be an integer (got 2.5)"),
        ({"unifrom": [0, 1]}, "unknown key; did you mean 'uniform'?"),
        ([0, 1], "must be a mapping of keys (got [0, 1])"),
    ],
)
def test_a_range_that_can_t_be_searched_is_told(range_: Any, expected: str) -> None:
    found = problems_of({"model.dropout": range_})
    assert all(text.startswith("sweep.space.model.dropout") for text in found)
    assert any(expected in text for text in found)


def test_an_empty_space_is_told() -> None:
    (found,) = problems_of({})
    assert found == (
        "sweep.space: must be from 1 to 200 paths, each with a range, such as "
        "optimizer.lr: {loguniform: [1e-4, 1e-1]} (got {})"
    )


def test_a_key_must_exist_under_every_name_that_is_tried() -> None:
    with_space({"optimizer.name": {"choice": ["adam", "sgd"]}, "optimizer.lr": {"uniform": [0.01, 0.1]}})
    space = {"optimizer.name": {"choice": ["adam", "sgd"]}, "optimizer.momentum": {"uniform": [0.0, 0.9]}}
    (found,) = problems_of(space)
    assert "optimizer 'adam' has no 'momentum'" in found
    with_space({"optimizer.name": {"choice": ["sgd"]}, "optimizer.momentum": {"uniform": [0.0, 0.9]}})


def test_space_problems_come_together_with_all_others() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(BASE | {"seed": "x", "sweep": {"space": {"optimizer.lrr": {"uniform": [0, 1]}}}})
    assert [problem.path for problem in caught.value.problems] == ["seed", "sweep.space.optimizer.lrr"]


def test_each_path_is_checked_whatever_is_wrong_beside_it() -> None:
    space = {
        "optimizer.lrr": {"uniform": [0.2, 0.1]},
        "model.dropout": {"uniform": [0, 1]},
        "seed": 3,
        "training.epochs": {"int": [1, 3]},
    }
    with pytest.raises(ConfigError) as caught:
        with_space(
            space, metric="test_loss", points=[{"training.epochs": 4, "seed": 1}, {"model.dropot": 0}, 3]
        )
    assert [problem.path for problem in caught.value.problems] == [
        "sweep.space.optimizer.lrr",
        "sweep.space.seed",
        "sweep.metric",
        "sweep.points.2",
        "sweep.space.optimizer.lrr",
        "sweep.space.model.dropout",
        "sweep.points.0.training.epochs",
        "sweep.points.1.model.dropot",
    ]


def test_paths_under_a_component_that_is_wrong_itself_are_left_alone() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(BASE | {"model": "mpl", "sweep": {"space": {"model.dropout": {"uniform": [0, 0.5]}}}})
    assert [problem.path for problem in caught.value.problems] == ["model.name"]


@pytest.mark.parametrize("metric", ["val_accuracy", "train_loss", "val_f1_macro"])
def test_a_sweep_chooses_by_validation_or_training(metric: str) -> None:
    exp = with_space({"model.dropout": {"uniform": [0, 0.5]}}, metric=metric)
    assert exp.sweep is not None
    assert exp.sweep.metric == metric


def test_a_sweep_never_chooses_by_the_test_split() -> None:
    (found,) = problems_of({"model.dropout": {"uniform": [0, 0.5]}}, metric="test_accuracy")
    assert found.startswith("sweep.metric: the test split is never used to choose (got 'test_accuracy')")


def test_points_lie_in_the_space() -> None:
    space = {"model.dropout": {"uniform": [0, 0.5]}, "model.norm": {"choice": ["none", "batch"]}}
    with_space(space, points=[{"model.dropout": 0}, {"model.dropout": 0.5, "model.norm": "none"}])
    found = problems_of(
        space, points=[{"model.dropout": 0.7}, {"model.dropot": 0.1}, {"model.norm": "group"}]
    )
    too_large, unknown, no_choice = found
    assert too_large == "sweep.points.0.model.dropout: must be in its range, uniform [0.0, 0.5] (got 0.7)"
    assert unknown.startswith(
        "sweep.points.1.model.dropot: is not in sweep.space; did you mean 'model.dropout'?"
    )
    assert no_choice.startswith("sweep.points.2.model.norm: must be in its range, choice ['none', 'batch']")


def test_thousands_of_bad_points_are_told_in_part() -> None:
    points = [{f"p{n}": n} for n in range(9000)]
    assert len(problems_of({"model.dropout": {"uniform": [0, 0.5]}}, points=points)) == 200


@pytest.mark.parametrize(
    ("range_", "inside", "outside"),
    [
        (Range(uniform=(0, 1)), [0, 0.5, 1, 1.0], [-0.1, 1.1, "0.5", True, None]),
        (Range(uniform=(0, 1), step=0.1), [0.1, 0.3, 1.0], [0.15]),
        (Range(int=(1, 9), step=2), [1, 3, 9], [2, 3.0, 11, True]),
        (Range(logint=(1, 8)), [1, 8], [0, 9, 2.0]),
        (Range(choice=[1, "a", None, True, [2]]), [1, "a", None, True, [2]], [2, "b", False, [3]]),
        (Range(choice=[1]), [1], [True]),
    ],
)
def test_a_range_holds_what_may_be_tried(range_: Range, inside: list[Any], outside: list[Any]) -> None:
    assert all(range_.holds(value) for value in inside)
    assert not any(range_.holds(value) for value in outside)


def test_a_range_knows_its_kind_and_ends() -> None:
    lr, units = Range(loguniform=(1e-4, 0.1)), Range(int=(1, 5), step=2)
    assert (lr.kind, lr.low, lr.high, lr.is_log, lr.is_int) == ("loguniform", 1e-4, 0.1, True, False)
    assert (units.kind, units.ends, units.is_log, units.is_int, units.step) == ("int", (1, 5), False, True, 2)
    assert Range(choice=["a"]).kind == "choice"
