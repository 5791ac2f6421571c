"""Laws of the training loop."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnray.errors import ConfigError, DivergedError
from nnray.evaluation.evaluate import evaluate
from nnray.metrics import MetricSums
from nnray.tasks.task import Task
from nnray.training.loop import EpochReport, Progress, fit
from nnray.training.state import TrainState, moving_average
from nnray.training.step import GradientStep
from tests.unit.training.conftest import Blobs

MakeState = Callable[..., TrainState]


def _fit(state: TrainState, task: Task, *, epochs: int = 6, **options: Any) -> list[EpochReport]:
    def measure(state: TrainState) -> MetricSums:
        return evaluate(state.evaluated, Blobs(seed=1).epoch(0), task)

    train = options.pop("train", Blobs())
    return list(fit(state, train, epochs=epochs, task=task, evaluate=measure, seed=0, **options))


def _bits(state: TrainState) -> list[Tensor]:
    return [value.clone() for value in state.model.state_dict().values()]


def _same(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def _metrics(reports: list[EpochReport]) -> list[dict[str, float]]:
    timed = ("samples_per_s", "epoch_seconds")
    return [{k: v for k, v in report.metrics.items() if k not in timed} for report in reports]


def test_training_learns(make_state: MakeState, task: Task) -> None:
    reports = _fit(make_state(), task)
    assert reports[-1].metrics["val_accuracy"] > 0.8
    assert reports[-1].metrics["train_loss"] < reports[0].metrics["train_loss"]


def test_the_same_seed_gives_the_same_bits(make_state: MakeState, task: Task) -> None:
    first, second = make_state(), make_state()
    assert _metrics(_fit(first, task)) == _metrics(_fit(second, task))
    assert _same(_bits(first), _bits(second))


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_a_resumed_run_has_the_bits_of_an_undisturbed_one(
    make_state: MakeState, task: Task, cut: int
) -> None:
    whole, part, resumed = make_state(), make_state(), make_state()
    reports = _fit(whole, task)
    early = _fit(part, task, epochs=cut)
    buffer = io.BytesIO()
    torch.save(part.state_dict(), buffer)
    buffer.seek(0)
    torch.manual_seed(99)
    resumed.load_state_dict(torch.load(buffer, weights_only=True))
    late = _fit(resumed, task)
    assert _same(_bits(whole), _bits(resumed))
    assert _metrics(early + late) == _metrics(reports)


def test_the_callers_random_numbers_are_left_alone(make_state: MakeState, task: Task) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    _fit(make_state(), task, epochs=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("accumulate", [2, 3, 16])
def test_accumulation_changes_no_gradient(make_state: MakeState, task: Task, accumulate: int) -> None:
    whole, parts = make_state(dropout=0.0), make_state(dropout=0.0)
    _fit(whole, task, epochs=2)
    _fit(parts, task, epochs=2, step_fn=GradientStep(accumulate=accumulate))
    for a, b in zip(_bits(whole), _bits(parts), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert whole.step == parts.step


def test_l1_is_the_penalty_that_autograd_gives(make_state: MakeState, task: Task) -> None:
    def penalized(model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        outputs = model(inputs)
        penalty = sum(p.abs().sum() for p in model.parameters() if p.ndim > 1)
        return outputs, task.loss(outputs, targets) + 0.01 * penalty

    ours, oracle = make_state(dropout=0.0), make_state(dropout=0.0)
    _fit(ours, task, epochs=1, step_fn=GradientStep(l1=0.01))
    _fit(oracle, task, epochs=1, loss_fn=penalized)
    for a, b in zip(_bits(ours), _bits(oracle), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_the_gradient_is_never_longer_than_its_bound(make_state: MakeState, task: Task) -> None:
    state = make_state(lr=1.0)
    state.optimizer = torch.optim.SGD(state.model.parameters(), lr=1.0)
    state.schedule = type(
        "Fixed", (), {"lr": 1.0, "step": lambda _: None, "epoch_end": lambda _, loss: None}
    )()
    before = _bits(state)
    inputs, targets = next(Blobs().epoch(1))
    step = GradientStep(max_grad_norm=1e-3)
    step(state, inputs * 100, targets, lambda m, x, y: (m(x), task.loss(m(x), y)))
    moved = torch.cat([(a - b).flatten() for a, b in zip(_bits(state), before, strict=True)]).norm()
    assert moved == pytest.approx(1e-3, rel=1e-3)


def test_the_average_is_the_textbook_recursion(make_state: MakeState, task: Task) -> None:
    state = make_state(dropout=0.0)
    state.average = moving_average(state.model, 0.9)
    expected: list[Tensor] | None = None
    plain = GradientStep()

    def step(state: TrainState, x: Tensor, y: Tensor, loss_fn: Any) -> tuple[Tensor, Tensor]:
        nonlocal expected
        made = plain(state, x, y, loss_fn)
        now = _bits(state)
        expected = (
            now if expected is None else [0.9 * e + 0.1 * n for e, n in zip(expected, now, strict=True)]
        )
        return made

    _fit(state, task, epochs=2, step_fn=step)
    assert expected is not None
    for ours, oracle in zip(state.evaluated.state_dict().values(), expected, strict=True):
        torch.testing.assert_close(ours, oracle)


def test_what_is_measured_is_the_average(make_state: MakeState, task: Task) -> None:
    state = make_state()
    state.average = moving_average(copy.deepcopy(state.model), 0.5)
    assert state.evaluated is state.average.module


@pytest.mark.parametrize("bad_step", [1, 5, 8])
def test_a_loss_that_is_not_finite_names_its_epoch_and_step(
    make_state: MakeState, task: Task, bad_step: int
) -> None:
    calls = 0

    def loss_fn(model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        outputs = model(inputs)
        return outputs, task.loss(outputs, targets) * (float("nan") if calls == bad_step else 1.0)

    with pytest.raises(DivergedError) as caught:
        _fit(make_state(), task, loss_fn=loss_fn)
    assert (caught.value.epoch, caught.value.step) == ((bad_step - 1) // 6 + 1, bad_step)


def test_a_validation_loss_that_is_not_finite_is_named(make_state: MakeState, task: Task) -> None:
    def measure(state: TrainState) -> MetricSums:
        sums = evaluate(state.evaluated, Blobs().epoch(0), task)
        return MetricSums({**sums.sums, "loss": sums.sums["loss"] * float("inf")}, sums.count)

    with pytest.raises(DivergedError, match="validation loss"):
        list(fit(make_state(), Blobs(), epochs=1, task=task, evaluate=measure, seed=0))


def test_an_unknown_metric_to_choose_by_is_a_mistake_with_a_suggestion(
    make_state: MakeState, task: Task
) -> None:
    with pytest.raises(ConfigError, match="did you mean 'val_accuracy'"):
        _fit(make_state(metric="val_acuracy"), task, epochs=1)


def test_patience_ends_training(make_state: MakeState, task: Task) -> None:
    state = make_state(lr=1e-12, metric="val_accuracy")
    reports = _fit(state, task, patience=2)
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert [report.is_last for report in reports] == [False, False, True]
    assert [report.is_best for report in reports] == [True, False, False]


def test_a_run_that_gave_up_does_not_go_on_when_resumed(make_state: MakeState, task: Task) -> None:
    state = make_state(lr=1e-12, metric="val_accuracy")
    _fit(state, task, patience=1)
    assert _fit(state, task, patience=1) == []


def test_progress_ends_with_the_last_batch_and_counts_every_example(
    make_state: MakeState, task: Task
) -> None:
    seen: list[Progress] = []
    _fit(make_state(), task, epochs=1, train=Blobs(num_examples=1000), on_progress=seen.append)
    assert [progress.batch for progress in seen] == [32, 63]
    assert seen[-1].examples == 1000


def test_train_metrics_weigh_each_example_alike(make_state: MakeState, task: Task) -> None:
    """The short last batch counts by its size, not as a batch."""
    state = make_state(dropout=0.0, lr=1e-12)
    (report,) = _fit(state, task, epochs=1)
    inputs, targets = (torch.cat(parts) for parts in zip(*Blobs().epoch(1), strict=True))
    with torch.no_grad():
        outputs = state.model(inputs)
    assert report.metrics["train_loss"] == pytest.approx(
        nn.functional.cross_entropy(outputs, targets).item(), rel=1e-5
    )
    assert report.metrics["train_accuracy"] == pytest.approx(
        (outputs.argmax(1) == targets).float().mean().item()
    )


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_learns_too(make_state: MakeState, task: Task, precision: Any) -> None:
    state = make_state(dropout=0.0)
    if precision == "fp16":
        state.scaler = torch.amp.GradScaler("cpu")
    reports = _fit(state, task, step_fn=GradientStep(precision=precision, max_grad_norm=10.0))
    assert reports[-1].metrics["val_accuracy"] > 0.8
    assert all(p.dtype == torch.float32 for p in state.model.parameters())
