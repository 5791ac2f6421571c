"""Laws that every task of the catalog obeys."""

from __future__ import annotations

import dataclasses
import math
from importlib import import_module
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnray.catalog import CATALOG
from nnray.data.splits import NO_CLASS, DataInfo
from nnray.metrics import MetricSums, merge, to_sums
from nnray.tasks.task import Task

TASKS = sorted(CATALOG["task"])
# Learnt by losses that the model tells, not by one of outputs: their own tests say how.
LOSS_INSIDE = {"detection"}
# What a task is told of its data beside their classes, where that is more than a class for each example.
OTHER: dict[str, dict[str, Any]] = {
    "rating": {"targets": "numbers", "target_shape": ()},
    "regression": {"targets": "numbers", "target_shape": ()},
    "ranking": {
        "classes": ("no", "yes"),
        "targets": "classes",
        "target_shape": (6,),
        "target_rates": (0.5, 0.4, 0.4, 0.3, 0.1, 0.0),
    },
    "detection": {"input_shape": (1, 8, 8), "targets": "boxes", "target_shape": (3, 5)},
    "reconstruction": {"targets": "numbers", "target_shape": (3,)},
    "adversarial_generation": {"targets": "numbers", "target_shape": (3,)},
    "forecasting": {"input_shape": (2, 4), "targets": "numbers", "target_shape": (2, 4)},
    "language": {"input_shape": (4,), "targets": "classes", "target_shape": (4,), "vocabulary": 12},
    "segmentation": {"input_shape": (3, 3, 2), "targets": "classes", "target_shape": (3, 2)},
}


def info_for(name: str, num_classes: int) -> DataInfo:
    classes = tuple(f"class {label}" for label in range(num_classes))
    return DataInfo(**{"name": "made up", "input_shape": (3,), "classes": classes, **OTHER.get(name, {})})


def make(name: str, num_classes: int) -> Task:
    module, _, function = CATALOG["task"][name].partition(":")
    task: Task = getattr(import_module(module), function)(info_for(name, num_classes))
    return task


def boxes(size: int, number: int, num_classes: int, rng: torch.Generator, *, scored: bool) -> torch.Tensor:
    """A class or none, corners of boxes that overlap much, and a score where they are of a detector."""
    label = torch.randint(-1, num_classes, (size, number, 1), generator=rng).float()
    corner, sides = 2 * torch.rand(2, size, number, 2, generator=rng)
    score = [torch.rand(size, number, 1, generator=rng)] if scored else []
    return torch.cat([label, corner, corner + 2 + sides, *score], 2)


def draw(seed: int, size: int, num_classes: int, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs and targets of the kind that the task is for."""
    rng = torch.Generator().manual_seed(seed)
    info = info_for(name, num_classes)
    if info.targets == "boxes":
        return boxes(size, 4, num_classes, rng, scored=True), boxes(size, 3, num_classes, rng, scored=False)
    assert info.output_shape is not None, name
    shape = getattr(make(name, num_classes), "output_shape", info.output_shape)
    outputs = 3 * torch.randn(size, *shape, generator=rng)
    if info.targets == "numbers":
        return outputs, torch.randn(size, *info.target_shape, generator=rng)
    targets = torch.randint(info.num_classes, (size, *info.target_shape), generator=rng)
    if info.targets == "classes":
        targets[torch.rand(targets.shape, generator=rng) < 0.1] = NO_CLASS
        targets.flatten(1)[:, 0] = 0
    return outputs, targets


def seen(task: Task, targets: torch.Tensor) -> dict[str, torch.Tensor]:
    """The inputs, for a task that compares outputs with them; here they are the targets, too."""
    return {"inputs": targets} if getattr(task, "needs_inputs", False) else {}


def sums_of(task: Task, outputs: torch.Tensor, targets: torch.Tensor) -> MetricSums:
    return to_sums(task.eval_sums(outputs, targets, **seen(task, targets)), len(targets))


@pytest.mark.parametrize("name", TASKS)
@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 60),
    num_classes=st.integers(2, 12),
    cuts=st.lists(st.integers(0, 60), max_size=8),
)
def test_sums_over_batches_are_the_sums_of_the_whole(
    name: str, seed: int, size: int, num_classes: int, cuts: list[int]
) -> None:
    task = make(name, num_classes)
    outputs, targets = draw(seed, size, num_classes, name)
    ends = sorted({0, size, *(cut for cut in cuts if cut < size)})
    parts = [sums_of(task, outputs[a:b], targets[a:b]) for a, b in pairwise(ends)]
    merged, whole = merge(parts), sums_of(task, outputs, targets)
    assert merged.count == whole.count == size
    assert merged.sums.keys() == whole.sums.keys()
    for key, value in whole.sums.items():
        torch.testing.assert_close(torch.tensor(merged.sums[key]), torch.tensor(value), rtol=1e-6, atol=1e-9)
    assert task.summarize(merged) == pytest.approx(task.summarize(whole), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", TASKS)
def test_a_rank_without_a_part_of_a_batch_adds_nothing(name: str) -> None:
    task = make(name, 2)
    outputs, targets = draw(0, 6, 2, name)
    whole = task.eval_sums(outputs, targets, **seen(task, targets))
    none = task.eval_sums(outputs[:0], targets[:0], **seen(task, targets[:0]))
    assert none.keys() == whole.keys()
    for key, value in whole.items():
        assert torch.equal(value + none[key], value), key


@pytest.mark.parametrize("name", TASKS)
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 40), num_classes=st.integers(2, 12))
def test_metrics_are_finite_and_don_t_depend_on_the_order(
    name: str, seed: int, size: int, num_classes: int
) -> None:
    task = make(name, num_classes)
    outputs, targets = draw(seed, size, num_classes, name)
    metrics = task.summarize(sums_of(task, outputs, targets))
    assert all(isinstance(value, float) and math.isfinite(value) for value in metrics.values())
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    assert task.summarize(sums_of(task, outputs[order], targets[order])) == pytest.approx(metrics, rel=1e-6)


@pytest.mark.parametrize("name", sorted(set(TASKS) - LOSS_INSIDE))
def test_loss_is_a_scalar_with_finite_gradients(name: str) -> None:
    outputs, targets = draw(0, 16, 5, name)
    outputs.requires_grad_()
    loss = make(name, 5).loss(outputs, targets)
    loss.backward()
    assert loss.shape == ()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()
    assert outputs.grad.abs().sum() > 0


@pytest.mark.parametrize("name", TASKS)
def test_sums_hold_no_graph(name: str) -> None:
    task = make(name, 5)
    outputs, targets = draw(0, 16, 5, name)
    outputs.requires_grad_()
    loss = outputs.square().mean() if name in LOSS_INSIDE else task.loss(outputs, targets)
    train = task.train_sums(outputs, targets, loss)
    sums = {**train, **task.eval_sums(outputs, targets, **seen(task, targets))}
    assert not any(value.requires_grad for value in sums.values())


@pytest.mark.parametrize("name", sorted(set(TASKS) - LOSS_INSIDE))
def test_training_metrics_are_those_of_the_evaluation_of_the_same_batch(name: str) -> None:
    task = make(name, 5)
    outputs, targets = draw(1, 33, 5, name)
    sums = to_sums(task.train_sums(outputs, targets, task.loss(outputs, targets)), 33)
    train, whole = task.summarize_train(sums), task.summarize(sums_of(task, outputs, targets))
    assert train == pytest.approx({key: whole[key] for key in train}, rel=1e-6)


@pytest.mark.parametrize("name", TASKS)
def test_confusion_counts_every_example_once(name: str) -> None:
    task = make(name, 5)
    outputs, targets = draw(2, 41, 5, name)
    confusion = task.confusion(sums_of(task, outputs, targets))
    if confusion is not None:
        assert confusion.shape == (5, 5)
        counted = targets[targets != NO_CLASS]
        assert confusion.sum(axis=1).tolist() == torch.bincount(counted, minlength=5).tolist()


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("num_classes", [2, 5])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.3}, {"class_weights": "some"}, {"both": True}])
@pytest.mark.parametrize("mixed", [False, True])
def test_the_loss_is_the_weighted_mean_of_what_examples_lose(
    name: str, num_classes: int, options: dict[str, object], mixed: bool
) -> None:
    """Where a task tells the loss of each example: with whatever it takes that changes the loss."""
    task = make(name, num_classes)
    if not hasattr(task, "example_losses"):
        return
    changes: dict[str, object] = {"label_smoothing": 0.2} if "both" in options else dict(options)
    if "class_weights" in options or "both" in options:
        changes["class_weights"] = tuple(1.0 + label for label in range(num_classes))
    known = {field.name for field in dataclasses.fields(task)}  # type: ignore[arg-type]
    changes = {key: value for key, value in changes.items() if key in known}
    task = dataclasses.replace(task, **changes)  # type: ignore[type-var]
    outputs, targets = draw(3, 9, num_classes, name)
    if mixed and outputs.ndim == 2:
        targets = torch.softmax(outputs.flip(0), 1)  # type: ignore[assignment]
    losses, weights = task.example_losses(outputs, targets)  # type: ignore[attr-defined]
    total = len(losses) if weights is None else weights.sum()
    torch.testing.assert_close(losses.sum() / total, task.loss(outputs, targets))
