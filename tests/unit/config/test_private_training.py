"""What can't stand beside the protection of single examples."""

from __future__ import annotations

from typing import Any

import pytest

from nnray.config import DataConfig, ParallelConfig, SweepConfig, TrainingConfig
from nnray.config.components import Component
from nnray.config.privacy import PrivacyConfig
from nnray.config.private_training import private_training_problems
from nnray.errors import Problem

PRIVACY: dict[str, Any] = {"unit": "example", "noise_multiplier": 1.0, "delta": 1e-5}
SPACE = {"optimizer.lr": {"uniform": [0.1, 1.0]}}


def problems(
    *,
    privacy: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    sweep: dict[str, Any] | None = None,
    parallel: bool = False,
    loss: str = "plain",
) -> list[Problem]:
    return list(
        private_training_problems(
            PrivacyConfig(**{**PRIVACY, **(privacy or {})}),
            data=DataConfig(**{"name": "digits", **(data or {})}),
            training=TrainingConfig(**(training or {})),
            sweep=None if sweep is None else SweepConfig(**{"space": SPACE, **sweep}),
            parallel=ParallelConfig() if parallel else None,
            loss=Component(name=loss),
        )
    )


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"data": {"stream": True}}, "data.stream", "leave it out"),
    ({"data": {"augment": [{"name": "flip"}, {"name": "mixup"}]}}, "data.augment[1]", "mixes examples"),
    ({"training": {"max_grad_norm": 1.0}}, "training.max_grad_norm", "privacy.clip_norm"),
    ({"training": {"accumulate": 2}}, "training.accumulate", "physical_batch_size"),
    ({"training": {"length_buckets": 9}}, "training.length_buckets", "leave it out"),
    ({"training": {"precision": "bf16"}}, "training.precision", "must be fp32"),
    ({"training": {"compile": True}}, "training.compile", "leave it out"),
    ({"parallel": True}, "parallel", "one process"),
    ({"loss": "adversarial"}, "loss", "must be plain"),
    ({"sweep": {"scheduler": {"name": "pbt"}}}, "sweep.scheduler", "take asha"),
    ({"sweep": {"space": {"data.limit": {"int": [10, 20]}}}}, "sweep.space.data.limit", "one value"),
    (
        {"privacy": {"metrics": "withheld"}, "training": {"metric": "train_loss"}},
        "training.metric",
        "take one of val_",
    ),
    ({"privacy": {"metrics": "withheld"}, "sweep": {"metric": "train_loss"}}, "sweep.metric", "withholds"),
]


@pytest.mark.parametrize(("given", "path", "words"), WRONG)
def test_what_is_ruled_out_is_said_with_what_to_do(given: dict[str, Any], path: str, words: str) -> None:
    (found,) = problems(**given)
    assert found.path == path and words in found.message


def test_all_of_it_comes_at_once() -> None:
    found = problems(
        data={"stream": True}, training={"accumulate": 2, "compile": True}, sweep={}, parallel=True
    )
    paths = ["data.stream", "training.accumulate", "training.compile", "parallel"]
    assert [problem.path for problem in found] == paths


@pytest.mark.parametrize("given", [given for given, _, _ in WRONG])
def test_a_client_s_protection_rules_none_of_it_out(given: dict[str, Any]) -> None:
    privacy = {**given.get("privacy", {}), "unit": "client"}
    assert problems(**{**given, "privacy": privacy}) == []


def test_what_goes_together_is_let_pass() -> None:
    assert not problems(
        data={"augment": [{"name": "crop"}]},
        training={"ema_decay": 0.9, "l1": 0.1, "metric": "train_loss"},
        sweep={"scheduler": {"name": "asha"}},
    )
    assert not list(
        private_training_problems(None, data=DataConfig(name="digits"), training=TrainingConfig())
    )
