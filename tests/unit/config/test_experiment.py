from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest

from nnray.config import (
    Component,
    DataConfig,
    Experiment,
    override,
    parse,
    require_sweep,
    with_overrides,
)
from nnray.errors import ConfigError

pytestmark = pytest.mark.usefixtures("fakes")
BASE: dict[str, Any] = {"name": "x", "data": "tiny", "model": "mlp"}


def problems_of(**sections: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(BASE | sections, source="job.yaml")
    assert caught.value.source == "job.yaml"
    return [str(problem) for problem in caught.value.problems]


def test_defaults_of_sections_and_of_plug_ins_are_filled_in() -> None:
    exp = parse(BASE)
    assert exp.seed == 0
    assert exp.training.epochs == 10
    assert exp.task == Component(name="classification", label_smoothing=0.0)
    assert exp.optimizer.kwargs == {"lr": 1e-3, "weight_decay": 0.0, "amsgrad": False}
    assert exp.model.kwargs == {"hidden": [64, 32], "dropout": 0.0, "norm": "none"}
    assert exp.data.kwargs == {"classes": 10}
    assert exp.data.component == Component(name="tiny", classes=10)


def test_the_short_form_is_a_component_with_its_defaults() -> None:
    assert parse(BASE) == parse(BASE | {"model": {"name": "mlp"}, "data": {"name": "tiny"}})


def test_a_section_left_empty_has_its_defaults() -> None:
    assert parse(BASE | {"training": None, "tracking": None}) == parse(BASE)


def test_the_python_form_is_checked_like_a_file() -> None:
    made = Experiment(name="x", data=DataConfig(name="tiny"), model=Component(name="mlp", dropout=0.5))
    assert made == parse(BASE | {"model": {"name": "mlp", "dropout": 0.5}})
    with pytest.raises(ConfigError, match=r"model\.dropout: must be a number at least 0 and below 1"):
        Experiment(name="x", data=DataConfig(name="tiny"), model=Component(name="mlp", dropout=2.0))


def test_an_int_is_fine_as_a_float_and_becomes_one() -> None:
    lr = parse(BASE | {"optimizer": {"name": "adam", "lr": 1}}).optimizer.kwargs["lr"]
    assert (lr, type(lr)) == (1.0, float)


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    found = problems_of(
        name="bad name",
        data={"name": "tiny", "clases": 3},
        model={"name": "mpl"},
        optimizer={"name": "adam", "lr": 0, "amsgrad": 1},
        training={"epochs": "3", "precision": "fp8", "early_stopping": {"patience": 0}},
        trainign={},
    )
    assert [text.split(": ")[0] for text in found] == [
        "name",
        "data.clases",
        "model.name",
        "optimizer.lr",
        "optimizer.amsgrad",
        "training.epochs",
        "training.precision",
        "training.early_stopping.patience",
        "trainign",
    ]


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        (
            {"trainign": {}},
            "trainign: unknown key; did you mean 'training'? allowed: data, federated, loss, model, name",
        ),
        (
            {"training": {"epoch": 3}},
            "training.epoch: unknown key; did you mean 'epochs'? allowed: accumulate",
        ),
        ({"training": {"epochs": "32"}}, "training.epochs: must be an integer above 0 (got '32')"),
        ({"training": {"epochs": True}}, "training.epochs: must be an integer above 0 (got true)"),
        ({"training": {"epochs": 1.0}}, "training.epochs: must be an integer above 0 (got 1.0)"),
        ({"training": {"epochs": 0}}, "training.epochs: must be an integer above 0 (got 0)"),
        ({"training": {"epochs": None}}, "training.epochs: must be an integer above 0 (got null)"),
        ({"training": {"l1": float("inf")}}, "training.l1: must be a finite number at least 0 (got inf)"),
        ({"training": {"l1": float("nan")}}, "training.l1: must be a finite number at least 0 (got nan)"),
        ({"training": {"max_grad_norm": -1}}, "must be a finite number above 0 or null (got -1)"),
        ({"training": {"compile": "yes"}}, "training.compile: must be true or false (got 'yes')"),
        (
            {"training": {"precision": "fp23"}},
            "must be one of fp32, bf16, fp16 (got 'fp23'); did you mean 'fp32'?",
        ),
        ({"training": {"device": "gpu"}}, "must be auto, cpu, cuda, cuda:N or mps (got 'gpu')"),
        ({"training": 3}, "training: must be a mapping of keys (got 3)"),
        ({"training": [1]}, "training: must be a mapping of keys (got [1])"),
        ({"seed": -1}, "seed: must be an integer at least 0 (got -1)"),
        ({"name": "a/b"}, "name: must be 1 to 100 letters, digits, '_', '-' and '.'"),
        ({"name": ""}, "name: must be 1 to 100 letters"),
        ({"name": None}, "name: must be 1 to 100 letters"),
        ({"model": 3}, "model: must be the name of a model, or {name: ..., ...} (got 3)"),
        ({"model": {"dropout": 0.1}}, "model.name: is missing; it must be text"),
        ({"model": {"name": 3}}, "model.name: must be text (got 3)"),
        (
            {"model": "ccn"},
            "model.name: no model 'ccn'; did you mean 'cnn'? allowed: cnn, mlp, named; or a function",
        ),
        ({"model": "named"}, "model.arch: is missing; it must be text"),
        (
            {"model": {"name": "mlp", "dropot": 1}},
            "model.dropot: unknown key for model 'mlp'; did you mean 'dropout'?",
        ),
        (
            {"model": {"name": "mlp", "norm": "bach"}},
            "one of none, batch, group (got 'bach'); did you mean 'batch'?",
        ),
        ({"model": {"name": "mlp", "hidden": 3}}, "model.hidden: must be a list of integers above 0 (got 3)"),
        ({"model": {"name": "mlp", "hidden": [3, "4"]}}, "a list of integers above 0 (got [3, '4'])"),
        ({"data": {"name": "tiny", "seed": 3}}, "data.seed: is given by nnray at run time"),
        (
            {"data": {"name": "tiny", "limt": 3}},
            "data.limt: unknown key for dataset 'tiny'; did you mean 'limit'?",
        ),
        (
            {"data": {"name": "tiny", "validation": 1.5}},
            "a fraction above 0 and below 1, or a number of examples",
        ),
        ({"data": {"name": "tiny", "validation": 0}}, "data.validation: must be a fraction"),
        (
            {"data": {"name": "tiny", "validation": True}},
            "data.validation: must be a number or an integer (got true)",
        ),
        ({"data": {"name": "tiny", "augment": "flip"}}, "data.augment: must be a list"),
        (
            {"data": {"name": "tiny", "augment": ["flop"]}},
            "data.augment.0.name: no augmentation 'flop'; did you mean",
        ),
        (
            {"data": {"name": "tiny", "augment": ["flip", {"name": "flip", "p": 1}]}},
            "data.augment.1.p: must be",
        ),
        (
            {"schedule": {"name": "constant", "num_steps": 3}},
            "schedule.num_steps: is given by nnray at run time",
        ),
        ({"training": {"metric": "test_loss"}}, "the test split is never used to choose"),
        ({"training": {"metric": "accuracy"}}, "must be a metric such as val_accuracy"),
        ({"tracking": {"dir": ""}}, "tracking.dir: must be text that is not empty (got '')"),
        ({"tracking": {"dir": "a\x00b"}}, "tracking.dir: must be text that is not empty"),
        ({"private": {}}, "private: unknown key"),
    ],
)
def test_each_mistake_has_one_clear_message(sections: dict[str, Any], expected: str) -> None:
    (found,) = problems_of(**sections)
    assert expected in found


def test_required_sections_are_named() -> None:
    with pytest.raises(ConfigError) as caught:
        parse({})
    assert [problem.path for problem in caught.value.problems] == ["name", "data", "model"]
    assert all("is missing" in str(problem) for problem in caught.value.problems)


@pytest.mark.parametrize(
    "values",
    [None, "x", 3, [], {1: 2}, BASE | {1: 2}, BASE | {"model": {1: 2}}, BASE | {"sweep": {"space": {1: 2}}}],
)
def test_any_python_value_is_an_experiment_or_a_config_error(values: Any) -> None:
    with pytest.raises(ConfigError):
        parse(values)


@pytest.mark.parametrize(
    "path", ["", ".", "a.", "model.", "data.augment.0", "sweep.space.", "sweep.points.0.a"]
)
def test_any_path_of_an_override_is_set_or_a_config_error(path: str) -> None:
    with pytest.raises(ConfigError):
        with_overrides(parse(BASE), {path: 1})


def test_thousands_of_unknown_keys_are_told_in_part() -> None:
    assert len(problems_of(**{f"key{n}": n for n in range(5000)})) == 100
    assert len(problems_of(model={"name": "mlp"} | {f"key{n}": n for n in range(5000)})) == 100


def test_an_experiment_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse(BASE).training.epochs = 3  # type: ignore[misc]


def test_an_experiment_pickles_with_what_was_given() -> None:
    exp = parse(BASE | {"model": {"name": "mlp", "dropout": 0.25}})
    copy = pickle.loads(pickle.dumps(exp))
    assert copy == exp
    assert copy.model.model_fields_set == {"name", "dropout"}


def test_the_best_epoch_is_judged_as_training_says_else_the_sweep_else_by_the_loss() -> None:
    sweep = {"sweep": {"space": {"optimizer.lr": {"uniform": [0.1, 0.2]}}, "metric": "val_f1_macro"}}
    own = {"training": {"metric": "val_gain", "mode": "max"}}
    assert parse(BASE).metric == ("val_loss", None)
    assert parse(BASE | sweep).metric == ("val_f1_macro", None)
    assert parse(BASE | sweep | own).metric == ("val_gain", "max")


def test_the_registered_model_goes_by_the_experiment_s_name_unless_told() -> None:
    assert parse(BASE).registered_name == "x"
    assert override(parse(BASE), ["tracking.register=y"]).registered_name == "y"


def test_a_sweep_can_be_required() -> None:
    with pytest.raises(ConfigError, match="x: sweep: is missing: say what to search"):
        require_sweep(parse(BASE))
    exp = parse(BASE | {"sweep": {"space": {"model.dropout": {"uniform": [0, 0.5]}}}})
    assert require_sweep(exp) is exp.sweep


def test_importing_config_imports_nothing_heavy() -> None:
    code = (
        "import sys, nnray.config;"
        "heavy = {'torch', 'numpy', 'ray', 'mlflow', 'optuna', 'sklearn'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
