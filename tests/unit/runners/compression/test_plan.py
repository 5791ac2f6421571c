"""Methods and targets as people write them."""

from __future__ import annotations

from typing import Any

import pytest

from nnray.config import parse
from nnray.errors import ConfigError
from nnray.runners.compression.methods import STRENGTHS, read_methods, searched
from nnray.runners.compression.outcome import table
from nnray.runners.compression.stages import student_experiment, written
from nnray.runners.compression.target import Target, find_strength, read_target


@pytest.mark.parametrize(
    ("text", "method"),
    [
        ("int8", {"name": "int8"}),
        ("channels:share=0.5", {"name": "channels", "share": 0.5}),
        ("magnitude:sparsity=0.9,scope=layer", {"name": "magnitude", "sparsity": 0.9, "scope": "layer"}),
    ],
)
def test_a_method_is_read_and_written_back(text: str, method: dict[str, Any]) -> None:
    assert read_methods([text]) == read_methods([method]) == [method]
    assert written(method) == text


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ([], "name one of magnitude, channels"),
        (["prune"], "no compressor 'prune'"),
        (["channels:share=1.5"], r"share.*1\.5"),
        (["channels:shares=0.5"], "shares"),
        (["channels:share=0.5,x"], "must be written NAME:KEY=VALUE"),
        (["int8", "channels"], "int8: must be the last method"),
    ],
)
def test_what_is_wrong_with_a_method_is_said(methods: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_methods(methods)


@pytest.mark.parametrize("name", STRENGTHS)
def test_every_strength_is_a_key_of_its_method(name: str) -> None:
    strength = STRENGTHS[name]
    for share in (0.0, 0.5, 1.0):
        assert read_methods([{"name": name, strength.key: strength.at(share)}])
    assert strength.at(0) == strength.none and strength.at(1) == strength.full


def test_the_method_that_is_searched_is_the_one_left_open() -> None:
    assert searched(read_methods(["magnitude:sparsity=0.5", "channels", "int8"])) == 1
    for methods in (["int8"], ["channels", "magnitude"]):
        with pytest.raises(ConfigError, match="needs one method whose strength is left open"):
            searched(read_methods(methods))


@pytest.mark.parametrize("text", ["speed=2", "flops", "flops=1.5", "flops=x", "accuracy=0.1", "bytes=0"])
def test_a_target_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=text.partition("=")[0]):
        read_target(text)


@pytest.mark.parametrize("edge", [0.03, 0.5, 0.77, 0.999])
def test_halving_finds_the_weakest_that_is_small_enough(edge: float) -> None:
    found = find_strength(lambda share: share >= edge, Target("flops", 0.5))
    assert edge <= found <= edge + 1 / 128


@pytest.mark.parametrize("edge", [0.03, 0.5, 0.77])
def test_halving_finds_the_strongest_that_is_good_enough(edge: float) -> None:
    found = find_strength(lambda share: share <= edge, Target("accuracy", -0.01))
    assert edge - 1 / 128 <= found <= edge


def test_a_target_out_of_reach_is_said() -> None:
    with pytest.raises(ConfigError, match="out of reach, even at full strength"):
        find_strength(lambda share: False, Target("flops", 0.1))


@pytest.mark.parametrize(
    ("target", "after", "met"),
    [("flops=0.5", 50, True), ("flops=0.5", 51, False), ("accuracy=-0.5", 99.5, True)],
)
def test_when_a_target_is_met(target: str, after: float, met: bool) -> None:
    assert read_target(target).is_met(100, after) is met


def test_a_table_is_aligned_and_leaves_out_what_nobody_measured() -> None:
    rows = [{"name": "before", "bytes": 12_345, "val_accuracy": 0.5}, {"name": "int8", "bytes": 9}]
    assert table(rows).splitlines() == [
        "         before  int8",
        "val acc  0.5000     -",
        "bytes    12,345     9",
    ]


SMALL = parse({"name": "s", "data": {"name": "digits"}, "model": {"name": "mlp"}}, source="here")


def test_a_student_has_another_network_and_the_same_data() -> None:
    student = student_experiment(SMALL, ["model.hidden=[3]", "training.epochs=2"])
    assert student.model.kwargs["hidden"] in ([3], (3,)) and student.training.epochs == 2
    assert student.data == SMALL.data and student.seed == SMALL.seed
    with pytest.raises(ConfigError, match=r"a student may differ in model, optimizer.*data\.name=mnist"):
        student_experiment(SMALL, ["data.name=mnist"])
