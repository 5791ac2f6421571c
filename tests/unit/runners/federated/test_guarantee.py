"""Runs that are private for their clients: what they spend, when they end, and what they tell."""

from __future__ import annotations

from typing import Any

import pytest

from nnray.errors import ConfigError, IncompatibleModel
from nnray.privacy.accounting import epsilon
from tests.unit.runners.federated.small import Ran, Told, experiment, ran

PRIVATE: dict[str, Any] = {"unit": "client", "delta": 1e-3, "noise_multiplier": 1.0, "clip_norm": 0.5}
POISSON = {"sampler": "poisson", "min_updates": 1}


def spent(rounds: int, *, noise: float = 1.0) -> float:
    return epsilon(noise_multiplier=noise, rate=5 / 20, steps=rounds, delta=1e-3)


def test_epsilon_stands_with_every_round_and_with_the_run() -> None:
    run, result = ran(POISSON, privacy=PRIVATE)
    found = [record.metrics["epsilon"] for record in run.history]
    assert found == pytest.approx([spent(n) for n in range(1, 5)], rel=1e-6)
    assert result.metrics["epsilon"] == found[-1]
    (stored,) = run.tracker.runs.values()
    assert f"epsilon {found[-1]:.4f} at delta 0.001 after 4 rounds" in stored.tags["nnray.privacy"]
    assert "seed" in stored.tags["nnray.privacy.outside"]
    assert "mean and standard deviation" in stored.tags["nnray.privacy.outside"]


def test_a_round_that_would_exceed_the_budget_is_not_run() -> None:
    budget = (spent(2) + spent(3)) / 2
    run = Ran(experiment(POISSON, privacy={**PRIVATE, "epsilon": budget}))
    told = Told()
    result = run.go(told)
    assert (result.rounds, len(run.history)) == (2, 2)
    assert result.metrics["epsilon"] <= budget
    assert "test_accuracy" in run.history[-1].metrics
    assert any("spent after 2 of 4 rounds" in note for note in told.notes)
    assert run.go().rounds == 2


def test_an_epsilon_is_kept_to_by_the_noise_that_it_needs() -> None:
    section = {key: value for key, value in PRIVATE.items() if key != "noise_multiplier"}
    _, result = ran(POISSON, privacy={**section, "epsilon": 2.0})
    assert 1.99 < result.metrics["epsilon"] <= 2.0
    assert result.rounds == 4


@pytest.mark.parametrize(
    "changes",
    [{}, {"clipping": "adaptive"}, {"clipping": "per_layer"}, {"mechanism": "tree"}],
    ids=["flat", "adaptive", "per_layer", "tree"],
)
def test_an_interrupted_run_goes_on_with_the_same_noise(changes: dict[str, str]) -> None:
    whole, expected = ran(POISSON, privacy=PRIVATE | changes)
    run = Ran(experiment(POISSON, privacy=PRIVATE | changes))
    with pytest.raises(KeyboardInterrupt):
        run.go(Told(interrupt_after=2))
    assert run.go().model_sha256 == expected.model_sha256
    assert run.measured == whole.measured


def test_two_runs_that_differ_in_anything_else_have_other_noise() -> None:
    """Else the difference of their models would be free of it."""
    runs = [
        ran({**POISSON, "rounds": 1}, privacy=PRIVATE, optimizer={"name": "sgd", "lr": lr})[1]
        for lr in (1e-9, 2e-9)
    ]
    assert runs[0].metrics["test_loss"] != pytest.approx(runs[1].metrics["test_loss"], abs=1e-4)


def test_what_is_withheld_is_nowhere_in_the_record() -> None:
    run, _ = ran({**POISSON, "holdout": 0.2}, privacy=PRIVATE | {"metrics": "withheld"})
    told = {name for record in run.history for name in record.metrics}
    assert not {name for name in told if name.startswith(("train_loss", "client_loss", "client_accuracy"))}
    (stored,) = run.tracker.runs.values()
    assert "clients.csv" not in stored.files
    open_run, _ = ran({**POISSON, "holdout": 0.2}, privacy=PRIVATE)
    (stored,) = open_run.tracker.runs.values()
    assert "clients.csv" in stored.files
    assert "client_accuracy" in open_run.history[-1].metrics


@pytest.mark.parametrize(
    ("federated", "privacy", "words"),
    [
        ({}, {}, "must be poisson"),
        (POISSON, {"delta": 0.05}, "must be below one in the number of clients, 0.05"),
        (POISSON, {"noise_at": "clients"}, "can only be 'clients' with secure sums"),
        ({**POISSON, "strategy": "scaffold"}, {}, "send 2 vectors"),
        ({**POISSON, "strategy": "fednova"}, {}, "numbers"),
        ({**POISSON, "strategy": "local"}, {}, "its clients send nothing"),
        (POISSON, {"epsilon": 0.01}, "less than the first round comes to"),
        ({**POISSON, "secure": {}, "on_client_error": "drop"}, {}, "may be drawn alone"),
    ],
)
def test_what_can_t_be_kept_to_is_refused_before_the_run(
    federated: dict[str, Any], privacy: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        ran(federated, privacy=PRIVATE | privacy)


def test_batch_norm_would_carry_data_past_the_noise() -> None:
    model = {"name": "mlp", "hidden": [8], "norm": "batch"}
    with pytest.raises(IncompatibleModel, match="averaged without noise"):
        ran(POISSON, privacy=PRIVATE, model=model)


def test_all_clients_in_every_round_need_no_sampling() -> None:
    _, result = ran({"cohort": None, "rounds": 2, "clients": 6}, privacy=PRIVATE)
    assert result.metrics["epsilon"] == pytest.approx(
        epsilon(noise_multiplier=1.0, rate=1.0, steps=2, delta=1e-3), rel=1e-6
    )
