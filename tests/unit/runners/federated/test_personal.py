"""Runs whose clients have models of their own: what is measured, recorded and refused, and how they go on."""

from __future__ import annotations

from typing import Any

import pytest

from nnray.errors import ConfigError
from nnray.runners.federated.ending import Ending
from nnray.runners.federated.setting import make_setting, strategy_of
from nnray.runners.federated.sites import require_apart
from tests.unit.runners.federated.small import Ran, Told, experiment, ran

MODELS: dict[str, dict[str, Any]] = {
    "fedper": {"name": "mlp", "hidden": [8]},
    "fedrep": {"name": "mlp", "hidden": [8]},
    "fedbn": {"name": "mlp", "hidden": [8], "norm": "batch"},
    "ditto": {"name": "mlp", "hidden": [8], "norm": "batch"},
    "pfedme": {"name": "mlp", "hidden": [8]},
}
every = pytest.mark.parametrize("name", MODELS)
PARTIAL = ("fedper", "fedrep", "fedbn")


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No plots, which take longer than a run."""
    monkeypatch.setattr(Ending, "_log_curve", lambda self: None)


def options(name: str, **changes: Any) -> dict[str, Any]:
    skewed = {"name": "labels_per_client", "labels_each": 2}
    chosen: dict[str, Any] = {
        "strategy": name,
        "clients": 6,
        "cohort": 3,
        "holdout": 0.3,
        "partition": skewed,
    }
    return {**chosen, **changes}


@every
def test_personal_models_are_measured_beside_the_common_one(name: str) -> None:
    run, result = ran(options(name, rounds=3), model=MODELS[name])
    for metrics in run.measured:
        assert {"client_accuracy", "client_accuracy_worst10", "test_accuracy"} <= metrics.keys()
        assert ("client_accuracy_global" in metrics) == (name not in PARTIAL)
        assert ("client_loss_global" in metrics) == (name not in PARTIAL)
    if name not in PARTIAL:
        last = run.measured[-1]
        assert last["client_loss"] != last["client_loss_global"]
    assert result.model_sha256


@every
def test_an_interrupted_run_goes_on_with_the_same_bits(name: str) -> None:
    whole, expected = ran(options(name, rounds=4), model=MODELS[name])
    run = Ran(experiment(options(name, rounds=4), model=MODELS[name]))
    with pytest.raises(KeyboardInterrupt):
        run.go(Told(interrupt_after=2))
    assert run.go().model_sha256 == expected.model_sha256
    assert run.measured == whole.measured


@pytest.mark.parametrize("name", ["fedper", "fedrep", "ditto"])
def test_where_clients_have_few_labels_own_models_are_better(name: str) -> None:
    chosen = options(name, rounds=12, cohort=6, local_epochs=2)
    personal = ran(chosen, model=MODELS["fedper"])[0].measured[-1]["client_accuracy"]
    common = ran({**chosen, "strategy": "fedavg"}, model=MODELS["fedper"])[0].measured[-1]["client_accuracy"]
    assert personal > common + 0.05


@every
def test_without_rounds_of_their_own_clients_have_the_common_model(name: str) -> None:
    run, _ = ran(options(name, cohort=1, rounds=1), model=MODELS[name])
    (metrics,) = run.measured
    assert metrics["updates"] == 1 and 0 <= metrics["client_accuracy"] <= 1


@pytest.mark.parametrize(("name", "layers"), [("fedper", True), ("ditto", False)])
def test_what_the_recorded_model_is_not_is_said(name: str, layers: bool) -> None:
    told = Told()
    Ran(experiment(options(name, rounds=1), model=MODELS[name])).go(told)
    assert any("has layers of its own" in note for note in told.notes) == layers


@every
def test_stages_are_not_stacked(name: str) -> None:
    """Neither by their names nor where a strategy of the user's own turns out to have stages."""
    for strategy in (name, by_path(name)):
        with pytest.raises(ConfigError, match="clients train in stages"):
            ran(options(name, stacked=True, strategy=strategy), model=MODELS[name])


def by_path(name: str) -> str:
    return f"nnray.federated.strategies.{name}:{name}"


def test_a_pattern_that_matches_nothing_is_told_before_the_run() -> None:
    wrong = {"name": "fedper", "personal": ["head.*"]}
    run = Ran(experiment(options("fedper", strategy=wrong)))
    with pytest.raises(ConfigError, match=r"strategy.personal: the pattern 'head.\*' matches no parameter"):
        run.go()
    assert not run.tracker.runs


def test_a_target_may_be_of_the_common_model_where_there_is_one() -> None:
    target = {"metric": "client_accuracy_global", "value": 0.01}
    _, result = ran(options("ditto", rounds=2, target=target), model=MODELS["ditto"])
    assert result.metrics["rounds_to_target"] == 1
    with pytest.raises(ConfigError, match="'client_accuracy_global' is not measured here"):
        ran(options("fedper", rounds=2, target=target), model=MODELS["fedper"])


@every
def test_sites_refuse_strategies_whose_clients_keep_weights(name: str) -> None:
    sites = [{"name": "a", "resource": "a"}, {"name": "b", "resource": "b"}]
    asked = {"sites": sites, "clients": None, "cohort": 2, "workers": None, "partition": "iid"}
    with pytest.raises(ConfigError, match="what sites keep is sent with updates"):
        experiment({**asked, "strategy": name})
    made = experiment({**asked, "strategy": by_path(name)})
    with pytest.raises(ConfigError, match=f"'{by_path(name)}' has clients keep weights"):
        require_apart(made)


def test_the_strategy_of_a_setting_knows_the_model() -> None:
    from nnray.assembly import load_data

    made = experiment(options("fedper"), model=MODELS["fedper"])
    strategy: Any = strategy_of(make_setting(made, load_data(made)))
    assert len(strategy.part.own) == 2 and len(strategy.part.others) == 2
