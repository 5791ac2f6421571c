"""The score of made digits: by hand where the CNN is simple enough."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nnray.data.splits import DataInfo
from nnray.models.dcgan import dcgan
from nnray.models.mlp import mlp
from nnray.seeding import torch_rng

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return import_module("gan_score")


def judge() -> nn.Module:
    """Pixels themselves are what its last layer takes, and are its logits."""
    cnn = nn.Sequential(nn.Flatten(), nn.Linear(3, 3, bias=False))
    last = cnn[1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.copy_(torch.eye(3))
    return cnn


def drawn(count: int, seed: int) -> Tensor:
    return torch.randn(count, 3, generator=torch_rng(seed, "features"), dtype=torch.float64)


def test_confidence_shares_and_agreement_are_those_by_hand(benchmark: Any) -> None:
    sure, unsure = torch.tensor([0.8, 0.1, 0.1]).log(), torch.tensor([0.2, 0.6, 0.2]).log()
    images = torch.stack([sure, sure, sure, unsure])[:, None, None]
    wanted = torch.tensor([0, 1, 0, 1])
    said = benchmark.score(judge(), images, real=drawn(50, 0), wanted=wanted)
    assert said.confidence == pytest.approx((3 * 0.8 + 0.6) / 4)
    assert said.rarest == 0, "the third digit never comes up"
    assert said.weakest == 0
    assert said.agreement == 0.75
    assert "75.0% as asked for" in str(said)
    assert benchmark.score(judge(), images, real=drawn(50, 0)).agreement is None


def test_the_least_sure_digit_and_the_rarest_need_not_be_the_same(benchmark: Any) -> None:
    rows = [[0.9, 0.05, 0.05]] * 1 + [[0.2, 0.6, 0.2]] * 3 + [[0.1, 0.2, 0.7]] * 4
    images = torch.tensor(rows).log()[:, None, None]
    said = benchmark.score(judge(), images, real=drawn(50, 0))
    assert said.weakest == pytest.approx(0.6)
    assert said.rarest == pytest.approx(1 / 8)


def test_the_distance_of_features_from_themselves_is_0_and_grows(benchmark: Any) -> None:
    real = drawn(300, 0)
    assert benchmark.frechet(real, real) == pytest.approx(0, abs=1e-6)
    moved = [benchmark.frechet(real + shift, real) for shift in (0.5, 1.0)]
    assert moved == pytest.approx([3 * 0.25, 3 * 1.0], abs=1e-6)


def test_the_distance_of_two_widths_is_that_of_their_deviations(benchmark: Any) -> None:
    """Twice as wide in every direction: the trace of the covariance, counted once."""
    real = drawn(300, 0) - drawn(300, 0).mean(0)
    assert benchmark.frechet(2 * real, real) == pytest.approx(float(torch.cov(real.T).trace()), rel=1e-6)


def test_features_are_what_the_last_layer_takes(benchmark: Any) -> None:
    images = drawn(1201, 0).float()[:, None, None]
    logits, features = benchmark.seen(judge(), images)
    assert logits.dtype == features.dtype == torch.float64
    assert torch.equal(features, images.flatten(1).double())
    assert torch.equal(logits, features)


def test_only_a_generator_that_is_told_digits_is_asked_for_some(benchmark: Any) -> None:
    info = DataInfo("images", (1, 8, 8), tuple("abc"))
    told, free = (dcgan(info, latent=2, width=4, conditional=wish) for wish in (True, False))
    assert benchmark.asked(told, 5).tolist() == [0, 1, 2, 0, 1]
    assert benchmark.asked(free, 5) is None
    assert benchmark.asked(mlp(info), 5) is None
