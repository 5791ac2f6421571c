"""From a trained run to a smaller model that every other verb opens."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

import nnray
from nnray.compression.int8_layers import Int8Layer
from nnray.compression.layers import weighty_layers
from nnray.config import override
from nnray.errors import ConfigError, IncompatibleModel, RunError
from nnray.runners import compression
from nnray.runners.compression import Compression
from nnray.runners.compression.chain import Plan
from nnray.runners.compression.methods import read_methods
from nnray.runners.subject import Subject, open_subject
from tests.unit.after.conftest import Trained


def compress(run: Trained, *methods: str, **options: Any) -> Compression:
    return nnray.compress(run.result, methods, root=run.root, **options)


def opened(made: Compression) -> Subject:
    return open_subject(made.model_uri, tracking=made.tracking_uri)


def test_a_chain_ends_as_a_model_that_can_be_opened(conv: Trained) -> None:
    made = compress(conv, "channels:share=0.25", "magnitude:sparsity=0.5", "int8", epochs=1)
    assert [row["name"] for row in made.rows] == [
        *("before", "channels:share=0.25", "magnitude:sparsity=0.5", "int8")
    ]
    before, pruned, sparse, integers = made.rows
    assert before["flops"] > pruned["flops"] == sparse["flops"] == integers["flops"]
    assert pruned["parameters"] == sparse["parameters"] > sparse["nonzero"]
    assert integers["bytes"] < 0.5 * sparse["bytes"]
    subject = opened(made)
    assert subject.sha256 == made.model_sha256
    assert [step["step"] for step in subject.about["recipe"]] == ["resize", "magnitude", "int8"]
    integer_layers = [layer for layer in subject.module.modules() if isinstance(layer, Int8Layer)]
    assert len(integer_layers) == 4
    zeros = sum(int((layer.weight == 0).sum()) for layer in integer_layers)
    assert zeros >= 0.5 * sum(layer.weight.numel() for layer in integer_layers) - 4


def test_the_test_split_is_measured_for_the_first_and_the_last_alone(conv: Trained) -> None:
    made = compress(conv, "magnitude:sparsity=0.1", "low_rank:energy=0.9")
    assert [("test_accuracy" in row, "latency_1_ms" in row) for row in made.rows] == [
        *((True, True), (False, False), (True, True))
    ]
    assert made.rows[0]["test_accuracy"] == pytest.approx(conv.result.metrics["test_accuracy"])
    assert made.metrics["test_accuracy"] == made.rows[-1]["test_accuracy"]
    assert "latency: median" in made.summary() and json.dumps(made.to_dict())
    files = {file.rpartition("/")[2] for file in made.files}
    assert files == {"table.txt", "compression.json"}


def test_training_on_keeps_zeros_and_does_not_get_worse_on_validation(trained: Trained) -> None:
    alone = compress(trained, "magnitude:sparsity=0.8")
    tuned = compress(trained, "magnitude:sparsity=0.8", epochs=2)
    assert tuned.rows[-1]["val_loss"] <= alone.rows[-1]["val_loss"]
    one, other = (weighty_layers(opened(made).module) for made in (alone, tuned))
    assert all(torch.equal(one[name].weight == 0, other[name].weight == 0) for name in one)
    assert not all(torch.equal(one[name].weight, other[name].weight) for name in one)


def test_a_compressed_model_is_compressed_again_and_zeros_stay(trained: Trained) -> None:
    once = compress(trained, "magnitude:sparsity=0.5")
    again = nnray.compress(
        once.model_uri, "channels:share=0.25", tracking=once.tracking_uri, root=trained.root, epochs=1
    )
    assert [step["step"] for step in again.recipe] == ["magnitude", "resize"]
    assert again.rows[-1]["nonzero"] < 0.7 * again.rows[-1]["parameters"]
    integers = compress(trained, "int8")
    with pytest.raises(RunError, match="has int8 weights already"):
        nnray.compress(integers.model_uri, "channels", tracking=once.tracking_uri, root=trained.root)


@pytest.mark.parametrize(("target", "column"), [("flops=0.5", "flops"), ("bytes=0.5", "compressed_bytes")])
def test_a_strength_is_found(conv: Trained, target: str, column: str) -> None:
    made = compress(conv, "channels", target=target)
    assert 0.3 < made.rows[-1][column] / made.rows[0][column] <= 0.5
    assert 0 < made.methods[0]["share"] < 0.99


def test_a_strength_that_keeps_accuracy_is_found_by_validation(trained: Trained) -> None:
    made = compress(trained, "magnitude", target="accuracy=-0.02")
    assert made.rows[-1]["val_accuracy"] >= made.rows[0]["val_accuracy"] - 0.02 - 1e-6
    assert 0.1 < made.methods[0]["sparsity"] < 1


def test_a_target_needs_one_open_strength(trained: Trained) -> None:
    with pytest.raises(ConfigError, match="out of reach"):
        compress(trained, "magnitude", target="flops=0.5")
    with pytest.raises(ConfigError, match="left open"):
        compress(trained, "int8", target="bytes=0.5")


def test_a_student_is_another_network_that_learns_from_the_first(conv: Trained) -> None:
    made = compress(conv, "distill:alpha=0.9", student=["model={name: mlp, hidden: [16]}"], epochs=3)
    assert made.rows[-1]["val_accuracy"] > 0.5
    subject = opened(made)
    assert subject.experiment.model.name == "mlp" and subject.about["recipe"] == []
    assert [type(layer) for layer in weighty_layers(subject.module).values()] == [nn.Linear, nn.Linear]


def test_a_network_without_channels_to_lose_is_refused(trained: Trained) -> None:
    flat = compress(trained, "distill", student=["model.hidden=[]"], epochs=1)
    with pytest.raises(IncompatibleModel, match="channels can't handle"):
        nnray.compress(flat.model_uri, "channels", tracking=flat.tracking_uri, root=trained.root)


@pytest.mark.parametrize("values", [{"epochs": -1}, {"lr": 0.0}])
def test_values_out_of_range_are_refused(trained: Trained, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        compress(trained, "int8", **values)


PRIVATE = "privacy={unit: example, noise_multiplier: 1.0, delta: 1.0e-5}"


@pytest.mark.parametrize(
    ("methods", "epochs"),
    [(["channels"], None), (["int8:activations=static"], None), (["distill"], 1), (["magnitude"], 1)],
)
def test_examples_that_a_guarantee_protects_are_not_looked_at_again(
    trained: Trained, methods: list[str], epochs: int | None
) -> None:
    subject = replace(open_as(trained), experiment=override(open_as(trained).experiment, [PRIVATE]))
    plan = Plan(methods=read_methods(methods), epochs=epochs)
    with pytest.raises(ConfigError, match="outside the model's guarantee"):
        compression.compress(subject, plan, root=trained.root)


def test_an_ensemble_is_not_compressed_but_teaches(trained: Trained) -> None:
    subject = open_as(trained)
    subject = replace(subject, about={"version": 1, "members": [subject.about], "combine": {"by": "mean"}})
    with pytest.raises(RunError, match="is an ensemble: compress its members"):
        compression.compress(subject, Plan(methods=read_methods(["int8"])), root=trained.root)


def open_as(run: Trained) -> Subject:
    return open_subject(run.result.model_uri, tracking=run.tracking)
