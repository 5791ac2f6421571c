"""Images laid out by pixel: the clients' kernels follow, and what is learnt is the same but for rounding."""

from __future__ import annotations

import pytest
import torch

from nnray.assembly import load_data
from nnray.config import Experiment
from nnray.errors import ConfigError
from nnray.federated.outcome import RoundStart
from nnray.runners.federated.setting import first_weights, make_setting
from nnray.runners.federated.stacking import decide
from nnray.runners.federated.worker import Worker
from tests.unit.runners.federated.small import experiment

CNN = {"name": "cnn", "channels": [4, 8], "hidden": 16, "dropout": 0.0}


def cnn(*, channels_last: bool, **federated: object) -> Experiment:
    training = {"batch_size": 10, "channels_last": channels_last}
    return experiment({"cohort": 3, **federated}, model=CNN, training=training)


def worker(asked: Experiment) -> tuple[Worker, RoundStart]:
    setting = make_setting(asked, load_data(asked))
    return Worker(setting), RoundStart(round=1, weights=first_weights(setting), room=3)


def test_clients_learn_the_same_in_either_layout() -> None:
    changes = []
    for channels_last in (False, True):
        made, start = worker(cnn(channels_last=channels_last))
        update = made.trainer.train(start, 2, state={})
        changes.append({slot.name: slot.of(update.delta) for slot in made.trainer.flat.slots})
        [(_, sums)] = made.evaluate(start.weights, "test", [0])
        assert sums.count > 0
    plain, laid_out = changes
    for name, change in plain.items():
        torch.testing.assert_close(laid_out[name], change, atol=1e-5, rtol=1e-4)


def test_kernels_and_batches_of_clients_are_laid_out_by_pixel() -> None:
    made, start = worker(cnn(channels_last=True))
    seen: list[bool] = []

    def watch(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last))

    kernels = [part for part in made.trainer.flat.module.modules() if isinstance(part, torch.nn.Conv2d)]
    assert all(k.weight.is_contiguous(memory_format=torch.channels_last) for k in kernels)
    kernels[-1].register_forward_pre_hook(watch)
    made.trainer.train(start, 0, state={})
    made.evaluate(start.weights, "test", [0])
    assert seen
    assert all(seen)


def test_stacking_is_ruled_out_with_a_word() -> None:
    asked = cnn(channels_last=True, stacked=True)
    with pytest.raises(ConfigError, match=r"training\.channels_last"):
        decide(make_setting(asked, load_data(asked)))
