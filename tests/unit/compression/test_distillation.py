"""Distillation against its formula."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from nnray.compression.distillation import distill, distill_from, distillation, divergence
from nnray.data.splits import DataInfo
from nnray.tasks.classification import classification

INFO = DataInfo("made up", (4,), ("a", "b", "c"))
TASK = classification(INFO)
X, Y = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3


def test_the_divergence_is_hintons() -> None:
    """Worked out by hand: two classes, logits 2 ln 3 apart, temperature 2; p = 3/4 against q = 1/2."""
    wanted = torch.tensor([[2 * torch.log(torch.tensor(3.0)), 0.0]])
    expected = 4 * (0.75 * torch.log(torch.tensor(1.5)) + 0.25 * torch.log(torch.tensor(0.5)))
    torch.testing.assert_close(divergence(torch.zeros(1, 2), wanted, temperature=2.0), expected)
    assert divergence(wanted, wanted, temperature=2.0).abs() < 1e-6


def test_at_high_temperature_it_is_a_distance_of_logits() -> None:
    """Section 2.1: the gradient tends to the centred difference of logits over the number of classes."""
    outputs = torch.randn(1, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    wanted = torch.randn(1, 3, generator=torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad(divergence(outputs, wanted, temperature=1e3), outputs)
    difference = (outputs - outputs.mean()) - (wanted - wanted.mean())
    torch.testing.assert_close(gradient, difference.detach() / 3, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(("alpha", "teaches"), [(0.0, False), (1.0, True)])
def test_alpha_weighs_teacher_and_labels(alpha: float, teaches: bool) -> None:
    teacher, student = nn.Linear(4, 3), nn.Linear(4, 3)
    outputs, loss = distill_from(teacher, TASK, alpha=alpha, temperature=3.0)(student, X, Y)
    wanted = divergence(student(X), teacher(X), temperature=3.0) if teaches else TASK.loss(student(X), Y)
    torch.testing.assert_close(loss, wanted)
    assert torch.equal(outputs, student(X))


def test_the_teacher_stays_as_it_is_and_gets_no_gradient() -> None:
    teacher = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    before = copy.deepcopy(teacher.state_dict())
    student = nn.Linear(4, 3)
    loss_fn = distill_from(teacher, TASK)
    (_, one), (_, other) = loss_fn(student, X, Y), loss_fn(student, X, Y)
    one.backward()  # type: ignore[no-untyped-call]
    assert torch.equal(one, other), "a teacher drops no units"
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert student.weight.grad is not None


def test_an_experiments_loss_loads_its_teacher_by_name() -> None:
    teacher, asked = nn.Linear(4, 3), []

    def load_model(reference: str) -> nn.Module:
        asked.append(reference)
        return teacher

    student = nn.Linear(4, 3)
    loss_fn = distillation(TASK, load_model=load_model, teacher="runs/big", temperature=2.0, alpha=1.0)
    torch.testing.assert_close(loss_fn(student, X, Y)[1], divergence(student(X), teacher(X), temperature=2.0))
    assert asked == ["runs/big"]


def test_the_method_keeps_the_network_and_says_what_to_learn_by() -> None:
    model, teacher = nn.Linear(4, 3), nn.Linear(4, 3)
    made = distill(temperature=2.0, alpha=1.0)(model, X)
    assert made.steps == [] and made.loss_of is not None
    _, loss = made.loss_of(teacher, TASK)(made.module, X, Y)
    torch.testing.assert_close(loss, divergence(model(X), teacher(X), temperature=2.0))
