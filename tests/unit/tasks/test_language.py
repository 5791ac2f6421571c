"""The task of telling the next token: numbers by hand, and places that don't count."""

from __future__ import annotations

import math

import pytest
import torch

from nnray.data.splits import NO_CLASS, DataInfo
from nnray.errors import DataError
from nnray.metrics import merge, to_sums
from nnray.tasks.language import language

INFO = DataInfo("plays", (3,), ("a", "b"), vocabulary=2, targets="classes", target_shape=(3,))
TASK = language(INFO)


def test_a_model_that_knows_nothing_has_one_bit_of_two_tokens() -> None:
    sums = TASK.eval_sums(torch.zeros(4, 2, 3), torch.zeros(4, 3, dtype=torch.int64))
    metrics = TASK.summarize(to_sums(sums, 4))
    assert metrics == pytest.approx(
        {"loss": math.log(2), "loss_bits": 1.0, "perplexity": 2.0, "accuracy": 1.0}, rel=1e-6
    )


def test_places_that_don_t_count_change_nothing() -> None:
    outputs = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[0, 1, NO_CLASS], [1, NO_CLASS, NO_CLASS]])
    other = outputs.clone()
    other[targets[:, None].expand(-1, 2, -1) == NO_CLASS] = 50.0
    assert torch.equal(TASK.loss(other, targets), TASK.loss(outputs, targets))
    wanted = sum(-float(outputs[b, :, t].log_softmax(0)[targets[b, t]]) for b, t in [(0, 0), (0, 1), (1, 0)])
    assert float(TASK.loss(outputs, targets)) == pytest.approx(wanted / 3, rel=1e-5)


def test_the_mean_is_over_tokens_whatever_the_batches() -> None:
    outputs = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([[0, 1, 1], [1, NO_CLASS, NO_CLASS]])
    parts = [to_sums(TASK.eval_sums(outputs[i : i + 1], targets[i : i + 1]), 1) for i in range(2)]
    loss = TASK.summarize(merge(parts))["loss"]
    assert loss == pytest.approx(float(TASK.loss(outputs, targets)), rel=1e-6)


def test_a_batch_where_nothing_counts_has_a_loss_of_0_and_a_gradient() -> None:
    outputs = torch.zeros(1, 2, 3, requires_grad=True)
    loss = TASK.loss(outputs, torch.full((1, 3), NO_CLASS))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert outputs.grad is not None
    assert not outputs.grad.any()


def test_a_class_for_each_text_is_refused() -> None:
    with pytest.raises(DataError, match=r"data set texts asks for class: use a data set such as shakespeare"):
        language(DataInfo("texts", (3,), ("a", "b"), vocabulary=2))
