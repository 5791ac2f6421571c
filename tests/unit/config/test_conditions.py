"""Conditional spaces: what is tried together, and what is told of conditions that can't be."""

from __future__ import annotations

from typing import Any

import pytest

from nnray.config import Experiment, Range, active, in_order, is_active, parse, with_overrides
from nnray.config.conditions import options, when_problems
from nnray.errors import ConfigError

pytestmark = pytest.mark.usefixtures("fakes")
BASE: dict[str, Any] = {"name": "x", "data": "tiny", "model": "mlp"}
OPTIMIZERS = {"optimizer.name": {"choice": ["adam", "sgd"]}}
MOMENTUM = {"uniform": [0, 0.99], "when": {"optimizer.name": "sgd"}}
CHAIN = {
    "c": Range(uniform=(0, 1), when={"b": [[1], [2]]}),
    "b": Range(choice=[[1], [2], None], when={"a": "x"}),
    "a": Range(choice=["x", "y"]),
    "d": Range(uniform=(0, 1), when={"b": [1], "a": ["x", "y"]}),
}


def with_space(space: Any, **rest: Any) -> Experiment:
    return parse(BASE | {"sweep": {"space": space, **rest}})


def problems_of(space: Any, **rest: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        with_space(space, **rest)
    return [str(problem) for problem in caught.value.problems]


def test_each_path_comes_after_those_that_it_depends_on() -> None:
    assert in_order(CHAIN) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"a": "x", "b": [1], "c": 0.1, "d": 0.2}, {"a", "b", "c", "d"}),
        ({"a": "x", "b": [2], "c": 0.1, "d": 0.2}, {"a", "b", "c"}),
        ({"a": "x", "b": None, "c": 0.1, "d": 0.2}, {"a", "b"}),
        ({"a": "y", "b": [1], "c": 0.1, "d": 0.2}, {"a"}),
        ({"b": [1], "c": 0.1}, set()),
    ],
)
def test_what_is_tried_follows_from_the_choices(params: dict[str, Any], expected: set[str]) -> None:
    assert active(params, CHAIN) == {path: value for path, value in params.items() if path in expected}


def test_a_list_is_a_value_where_the_other_path_has_it_and_else_a_list_of_values() -> None:
    assert is_active("d", {"a": "y", "b": [1]}, space=CHAIN)
    assert is_active("c", {"b": [2]}, space=CHAIN)
    assert not is_active("c", {"b": None}, space=CHAIN)


def test_true_is_no_1() -> None:
    space = {"a": Range(choice=[1, True]), "b": Range(int=(0, 1), when={"a": True})}
    assert is_active("b", {"a": True}, space=space)
    assert not is_active("b", {"a": 1}, space=space)


def test_a_key_that_only_one_component_has_is_searched_where_that_one_is_tried() -> None:
    exp = with_space(OPTIMIZERS | {"optimizer.momentum": MOMENTUM})
    assert exp.sweep is not None
    assert exp.sweep.space["optimizer.momentum"].when == {"optimizer.name": "sgd"}
    changed = with_overrides(exp, {"optimizer.name": "sgd", "optimizer.momentum": 0.5})
    assert changed.optimizer.kwargs == {"lr": 0.01, "momentum": 0.5}
    assert with_overrides(changed, {"optimizer.name": "adam"}).optimizer.name == "adam"


def test_keys_of_the_file_that_another_component_does_not_take_are_no_hindrance() -> None:
    values = BASE | {"optimizer": {"name": "sgd", "momentum": 0.9}, "sweep": {"space": OPTIMIZERS}}
    assert "momentum" not in with_overrides(parse(values), {"optimizer.name": "adam"}).optimizer.kwargs


def test_a_component_is_known_through_other_paths() -> None:
    """The norm is tried with the optimizer's name, and the momentum with the norm."""
    norm = {"choice": ["none", "batch"], "when": {"optimizer.name": "sgd"}}
    momentum = {"uniform": [0, 0.9], "when": {"model.norm": "batch"}}
    with_space(OPTIMIZERS | {"model.norm": norm, "optimizer.momentum": momentum})


def test_without_when_the_message_says_that_there_is_one() -> None:
    (found,) = problems_of(OPTIMIZERS | {"optimizer.momentum": {"uniform": [0, 0.9]}})
    assert "optimizer 'adam' has no 'momentum'" in found
    assert found.endswith("say where it is tried, such as when: {optimizer.name: ...}")


def test_ends_are_checked_for_the_components_that_when_leaves() -> None:
    (found,) = problems_of(OPTIMIZERS | {"optimizer.momentum": MOMENTUM | {"uniform": [0, 1.5]}})
    assert found.startswith(
        "sweep.space.optimizer.momentum: uniform: must be a number at least 0 and below 1"
    )


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (
            {"optimizer.nam": "sgd"},
            "when.optimizer.nam: is not in sweep.space; did you mean 'optimizer.name'?",
        ),
        (
            {"optimizer.lr": 0.1},
            "when.optimizer.lr: must be a choice, for a condition names values (got uniform",
        ),
        ({"optimizer.name": "sdg"}, "must be among its choices, ['adam', 'sgd'] (got 'sdg')"),
        ({"optimizer.name": ["sgd", 3]}, "must be among its choices, ['adam', 'sgd'] (got 3)"),
        ({"optimizer.name": []}, "when.optimizer.name: is empty: name the values with which it is tried"),
        ({"model.dropout": 0.1}, "when.model.dropout: must be a choice"),
        ("sgd", "sweep.space.model.dropout.when: must be"),
        ({1: "sgd"}, "sweep.space.model.dropout.when"),
    ],
)
def test_a_condition_that_can_t_be_is_told(when: Any, expected: str) -> None:
    space = OPTIMIZERS | {
        "optimizer.lr": {"uniform": [0.1, 0.2]},
        "model.dropout": {"uniform": [0, 0.5], "when": when},
    }
    found = problems_of(space)
    assert any(expected in text for text in found), found


def test_circles_are_told_from_every_path_on_them() -> None:
    one = {"choice": [1, 2]}
    space = {
        "training.epochs": one | {"when": {"training.batch_size": 1}},
        "training.batch_size": one | {"when": {"training.epochs": 1}},
        "seed": one | {"when": {"training.epochs": 2}},
        "training.threads": one | {"when": {"training.threads": 2}},
    }
    assert problems_of(space) == [
        f"sweep.space.{circle.partition(' ')[0]}.when: goes in a circle: {circle}"
        for circle in (
            "training.epochs -> training.batch_size -> training.epochs",
            "training.batch_size -> training.epochs -> training.batch_size",
            "training.threads -> training.threads",
        )
    ]


def test_a_tangle_of_conditions_is_checked_at_once() -> None:
    """100 rows of two, each with both of the row before: 2^100 ways through."""
    space = {
        f"data.augment.{row}.{side}": Range(
            choice=[1, 2], when={f"data.augment.{row - 1}.{other}": [1, 2] for other in "ab" if row}
        )
        for row in range(100)
        for side in "ab"
    }
    assert len(in_order(space)) == 200
    assert options("data.augment.99.a", "data.augment.0.b", space=space) == [1, 2]
    assert list(when_problems(space)) == []


def test_conditions_that_exclude_each_other_are_told() -> None:
    space = OPTIMIZERS | {
        "model.norm": {"choice": ["none", "batch"], "when": {"optimizer.name": "adam"}},
        "optimizer.momentum": MOMENTUM | {"when": {"model.norm": "batch", "optimizer.name": "sgd"}},
    }
    (found,) = problems_of(space)
    assert found.startswith("sweep.space.optimizer.momentum.when.optimizer.name: is never fulfilled")


def test_points_may_leave_out_what_is_not_tried_and_must_not_name_it() -> None:
    space = OPTIMIZERS | {"optimizer.momentum": MOMENTUM}
    with_space(space, points=[{"optimizer.name": "adam"}, {"optimizer.momentum": 0.5}])
    with_space(
        space, points=[{"optimizer.name": "sgd", "optimizer.momentum": 0.5}, {"optimizer.name": "sgd"}]
    )
    (found,) = problems_of(space, points=[{"optimizer.name": "adam", "optimizer.momentum": 0.5}])
    assert found == (
        "sweep.points.0.optimizer.momentum: is tried only where optimizer.name is 'sgd' "
        "(it is 'adam' here): leave it out"
    )


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (
            {"objectives": ["size"]},
            "sweep.objectives.0: must be one of parameters, latency_ms, epoch_seconds",
        ),
        ({"objectives": ["test_loss"]}, "sweep.objectives.0: the test split is never used to choose"),
        ({"objectives": ["val_loss", "val_loss"]}, "sweep.objectives: holds 'val_loss' twice"),
        ({"objectives": ["val_accuracy"]}, "sweep.objectives: 'val_accuracy' is the metric itself"),
        ({"constraints": ["parameters"]}, "sweep.constraints.0: must be one comparison"),
        ({"constraints": ["size <= 3"]}, "sweep.constraints.0: must be one of parameters, latency_ms"),
        ({"constraints": ["test_loss <= 3"]}, "sweep.constraints.0: the test split is never used to choose"),
        ({"trials": 0}, "sweep.trials: must be an integer above 0 or null (got 0)"),
        ({"target": float("inf")}, "sweep.target: must be a finite number or null (got inf)"),
    ],
)
def test_what_a_sweep_can_t_aim_at_is_told(rest: dict[str, Any], expected: str) -> None:
    (found,) = problems_of({"model.dropout": {"uniform": [0, 0.5]}}, **rest)
    assert found.startswith(expected)


def test_constraints_and_objectives_say_what_they_mean() -> None:
    goals = {"objectives": ["parameters", "val_f1_macro"], "constraints": ["latency_ms <= 2"]}
    sweep = with_space({"model.dropout": {"uniform": [0, 0.5]}}, **goals).sweep
    assert sweep is not None
    assert [rule.names for rule in sweep.rules] == [{"latency_ms"}]
    assert [sweep.mode_of_objective(name) for name in sweep.objectives] == ["min", "max"]
    assert (sweep.trials, sweep.target) == (None, None)
