"""Evaluation leaves no trace in a model, and batches don't matter."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.evaluation.evaluate import autocast, evaluate, evaluation_mode
from nnray.metrics import MetricSums
from nnray.tasks.classification import Classification, classification

TASK: Classification = classification(DataInfo("made up", (3,), ("a", "b", "c", "d")))


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 4))


def make_data(size: int = 50) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(size, 3, generator=rng), torch.randint(4, (size,), generator=rng)


def cut(data: tuple[Tensor, Tensor], batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    yield from zip(*(part.split(batch_size) for part in data), strict=True)


@settings(deadline=None, max_examples=25)
@given(batch_size=st.integers(1, 60))
def test_sums_don_t_depend_on_the_batch_size(batch_size: int) -> None:
    model, data = make_model(), make_data()
    whole = evaluate(model, [data], TASK)
    parts = evaluate(model, cut(data, batch_size), TASK)
    assert parts.count == whole.count == 50
    for name, value in whole.sums.items():
        np.testing.assert_allclose(parts.sums[name], value, rtol=1e-5)


def test_sums_are_those_of_the_model_in_evaluation_mode() -> None:
    model, (inputs, targets) = make_model(), make_data()
    got = evaluate(model, cut((inputs, targets), 7), TASK)
    with torch.no_grad():
        outputs = model.eval()(inputs)
    assert got.sums["correct"] == (outputs.argmax(1) == targets).sum()
    assert TASK.summarize(got)["loss"] == pytest.approx(float(nn.functional.cross_entropy(outputs, targets)))


def test_the_model_is_left_as_it_was() -> None:
    model = make_model().train()
    model[1].eval()  # frozen statistics must stay frozen
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, [make_data()], TASK)
    assert [module.training for module in model.modules()] == [True, True, False, True, True, True]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_mode_comes_back_when_a_batch_fails() -> None:
    model = make_model().train()
    with pytest.raises(RuntimeError):
        evaluate(model, [(torch.zeros(2, 5), torch.zeros(2, dtype=torch.int64))], TASK)
    assert model.training
    with evaluation_mode(model):
        assert not any(module.training for module in model.modules())


def test_the_random_state_isn_t_touched() -> None:
    before = torch.get_rng_state()
    evaluate(make_model_without_seeding(), [make_data()], TASK)
    assert torch.equal(before, torch.get_rng_state())


def make_model_without_seeding() -> nn.Module:
    with torch.random.fork_rng():
        return make_model()


def test_a_batch_s_sums_aren_t_changed_by_the_next() -> None:
    seen: list[dict[str, Tensor]] = []

    class Recording:
        def eval_sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
            seen.append(TASK.eval_sums(outputs, targets))
            return seen[-1]

    model, data = make_model(), make_data()
    evaluate(model, cut(data, 25), Recording())  # type: ignore[arg-type]
    first = evaluate(model, [(data[0][:25], data[1][:25])], TASK)
    assert float(seen[0]["loss"]) == first.sums["loss"]


def test_ranks_are_reduced_once_at_the_end() -> None:
    calls: list[MetricSums] = []

    def double(sums: MetricSums) -> MetricSums:
        calls.append(sums)
        return sums + sums

    model, data = make_model(), make_data()
    one, two = evaluate(model, cut(data, 9), TASK), evaluate(model, cut(data, 9), TASK, reduce=double)
    assert len(calls) == 1
    assert two.count == 2 * one.count
    assert TASK.summarize(two) == pytest.approx(TASK.summarize(one))


def test_no_batches_are_no_examples() -> None:
    assert evaluate(make_model(), [], TASK) == MetricSums({}, 0)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_forward_pass_runs_at_the_precision_asked_for(precision: str, dtype: torch.dtype) -> None:
    seen: list[torch.dtype] = []
    model = make_model()
    model[-1].register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    sums = evaluate(model, [make_data()], TASK, precision=precision)  # type: ignore[arg-type]
    assert seen == [dtype]
    assert sums.sums["loss"].dtype == np.float64


def test_full_precision_needs_no_autocast() -> None:
    with autocast(torch.device("cpu"), "fp32"):
        assert not torch.is_autocast_enabled("cpu")
    with autocast(torch.device("cpu"), "bf16"):
        assert torch.is_autocast_enabled("cpu")
