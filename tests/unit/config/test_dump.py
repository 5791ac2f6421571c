from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nnray.config import Experiment, Range, dump, flatten, load, parse
from nnray.config.reader import read_yaml
from nnray.config.tree import to_tree

pytestmark = pytest.mark.usefixtures("fakes")
BASE: dict[str, Any] = {"name": "x", "data": "tiny", "model": "mlp"}
FULL = BASE | {
    "data": {"name": "tiny", "augment": [{"name": "flip", "p": 0.25}, "flip"], "validation": 500},
    "optimizer": {"name": "adam", "lr": 1e-5},
    "training": {"early_stopping": {"patience": 3}, "max_grad_norm": 1},
    "sweep": {
        "space": {
            "optimizer.lr": {"loguniform": [1e-5, 0.1]},
            "model.hidden": {"choice": [[64], [64, 32]]},
            "training.epochs": {"int": [2, 10], "step": 2},
            "optimizer.name": {"choice": ["adam", "sgd"]},
            "optimizer.momentum": {"uniform": [0, 0.9], "when": {"optimizer.name": "sgd"}},
            "model.dropout": {"uniform": [0, 0.5], "when": {"model.hidden": [[64], [64, 32]]}},
        },
        "objectives": ["parameters", "val_loss"],
        "constraints": ["latency_ms < 2.5", "parameters / 1e3 <= 50"],
        "trials": None,
        "target": 0.99,
        "points": [{"optimizer.lr": 0.001}],
    },
}


def loaded(text: str) -> Experiment:
    Path("dumped.yaml").write_text(text, encoding="utf-8")
    return load("dumped.yaml")


@pytest.mark.parametrize("values", [BASE, FULL])
def test_what_is_written_loads_to_the_same(values: dict[str, Any]) -> None:
    exp = parse(values)
    assert loaded(dump(exp)) == exp
    assert dump(loaded(dump(exp))) == dump(exp)


@pytest.mark.parametrize("values", [BASE, FULL])
def test_any_other_yaml_loader_reads_the_same(values: dict[str, Any]) -> None:
    exp = parse(values)
    assert yaml.safe_load(dump(exp)) == to_tree(exp)


def test_every_default_is_written_in_the_order_of_a_file() -> None:
    tree = yaml.safe_load(dump(parse(BASE)))
    assert list(tree) == [
        "name",
        "seed",
        "task",
        "data",
        "model",
        "loss",
        "optimizer",
        "schedule",
        "training",
        "tracking",
    ]
    assert list(tree["model"]) == ["name", "hidden", "dropout", "norm", "init_from", "init_skip", "freeze"]
    assert tree["training"]["early_stopping"] is None


def test_it_reads_well() -> None:
    text = dump(parse(FULL))
    assert "loss: {name: plain}\n" in text
    assert "optimizer:\n  name: adam\n  lr: 1.0e-5\n" in text
    assert "    optimizer.lr: {loguniform: [1.0e-5, 0.1]}\n" in text
    assert "    training.epochs: {int: [2, 10], step: 2}\n" in text
    assert "      when: {optimizer.name: sgd}\n" in text
    assert "  objectives: [parameters, val_loss]\n" in text
    assert "  epochs: 10\n" in text
    assert "!!" not in text
    assert max(map(len, text.splitlines())) <= 110


@given(st.text(max_size=40))
def test_any_text_survives(text: str) -> None:
    from nnray.config.dump import _Dumper, _node

    def through(value: Any) -> Any:
        written = yaml.serialize(_node(value, depth=0), Dumper=_Dumper, width=100, allow_unicode=True)
        return read_yaml(written, source="s")[0], yaml.safe_load(written)

    tree = {"a": text, "b": [text, {"c": text}]}
    assert through(tree) == (tree, tree)


@pytest.mark.parametrize(
    "text", ["1e-3", "1e400", "yes", "null", "~", "", "1:30", "2020-01-01", "<<", "=", "a: b", "#"]
)
def test_a_text_that_looks_like_something_else_stays_text(text: str) -> None:
    exp = parse(BASE | {"model": {"name": "named", "arch": text}})
    assert loaded(dump(exp)).model.kwargs["arch"] == text


def test_flat_values_are_scalars_by_dotted_path() -> None:
    flat = flatten(parse(FULL))
    assert flat["optimizer.lr"] == 1e-5
    assert flat["optimizer.name"] == "adam"
    assert flat["model.hidden"] == "[64, 32]"
    assert flat["data.augment.0.p"] == 0.25
    assert flat["training.max_grad_norm"] == 1.0
    assert flat["training.threads"] is None
    assert flat["training.early_stopping.patience"] == 3
    assert flat["sweep.space.optimizer.lr.loguniform"] == "[1e-05, 0.1]"
    assert flat["sweep.space.optimizer.momentum.when.optimizer.name"] == "sgd"
    assert all(isinstance(value, str | int | float | bool | None) for value in flat.values())


def test_a_range_writes_only_what_it_is() -> None:
    exp = parse(FULL)
    assert exp.sweep is not None
    assert to_tree(exp)["sweep"]["space"]["training.epochs"] == {"int": [2, 10], "step": 2}
    assert exp.sweep.space["training.epochs"] == Range(int=(2, 10), step=2)
