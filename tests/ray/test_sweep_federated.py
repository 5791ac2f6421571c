"""Sweeps whose trials are federated runs: rounds are what they spend, and validation judges them."""

from __future__ import annotations

from typing import Any

import pytest

from nnray.config import Experiment, parse
from nnray.errors import ConfigError
from nnray.runners.cluster import Cluster
from nnray.runners.folder import create
from nnray.runners.sweep import sweep
from nnray.runners.sweep.start import demand
from nnray.tracking import MemoryTracker

pytestmark = pytest.mark.ray


def experiment(federated: dict[str, Any] | None = None, **search: Any) -> Experiment:
    return parse(
        {
            "name": "tuned",
            "data": {"name": "digits", "limit": 300},
            "model": {"name": "mlp", "hidden": [8]},
            "optimizer": {"name": "sgd", "lr": 0.1},
            "federated": {
                "clients": 10,
                "cohort": 5,
                "rounds": 4,
                "strategy": "fedprox",
                **(federated or {}),
            },
            "sweep": {
                "of": "federate",
                "space": {
                    "optimizer.lr": {"loguniform": [1e-3, 1.0]},
                    "federated.strategy.mu": {"loguniform": [1e-4, 1.0]},
                    "federated.cohort": {"int": [2, 8]},
                },
                "trials": 5,
                "concurrency": 1,
                **search,
            },
        }
    )


def test_trials_are_federated_runs_nested_in_the_sweeps(cluster: Cluster) -> None:
    made = experiment()
    folder, tracker = create(made, "sweep"), MemoryTracker()
    result = sweep(made, folder, tracker=tracker, quiet=True)
    tracker.close()
    trials = [run for run in tracker.runs.values() if run.verb == "trial"]
    assert len(trials) == 5
    assert {run.parent for run in trials} == {folder.name}
    for run in trials:
        steps = [row.step for row in run.rows if row.key == "val_accuracy"]
        assert steps == list(range(1, len(steps) + 1))
        assert max(steps) <= 4
        assert not any(row.key.startswith("test_") for row in run.rows)
        cohorts = {row.value for row in run.rows if row.key == "cohort"}
        assert cohorts == {float(run.params["federated.cohort"])}
    assert sum(result.trials.values()) == 5
    assert result.epochs == sum(len([r for r in run.rows if r.key == "val_loss"]) for run in trials)
    assert "test_accuracy" in result.metrics
    assert result.best.federated is not None
    assert f"nnray federate {result.best_file}" in result.summary()
    assert result.best_value == max(
        row.value for run in trials for row in run.rows if row.key == "val_accuracy"
    )


def test_the_same_seed_gives_the_same_trials(cluster: Cluster) -> None:
    found = []
    for _ in range(2):
        made = experiment(trials=3)
        result = sweep(made, create(made, "sweep"), tracker=MemoryTracker(), quiet=True)
        found.append((result.params, result.best_value, result.model_sha256))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({"scheduler": "pbt"}, "sweep.scheduler"),
        ({"champion": "retrain"}, "nnray federate"),
        ({"objectives": ["latency_ms"]}, "latency_ms is not measured"),
        ({"space": {"federated.workers": {"int": [1, 2]}}}, "federated.workers"),
    ],
)
def test_what_federated_trials_can_t_do_is_said(search: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        demand(experiment(**search))


def test_sites_are_not_swept() -> None:
    sites = [{"name": "a", "resource": "site_a"}, {"name": "b", "resource": "site_b"}]
    made = experiment({"sites": sites, "clients": None, "cohort": 2, "workers": None})
    with pytest.raises(ConfigError, match=r"federated\.sites"):
        demand(made)


def test_a_federated_sweep_needs_a_federated_section() -> None:
    made = experiment()
    with pytest.raises(ConfigError, match="federated: is missing"):
        demand(made.model_copy(update={"federated": None}))
