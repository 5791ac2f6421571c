"""Rounds of devices, without cohorts, and with a root that a rule trusts: as a run goes through them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nnray.errors import ConfigError, IncompatibleModel
from nnray.federated.sampling import Cohort, with_client
from nnray.runners.federated import events
from tests.unit.runners.federated.small import Ran, Told, experiment, ran

TIMED: dict[str, dict[str, Any]] = {
    "cohorts": {"devices": "pareto"},
    "deadline": {"devices": "pareto", "round_deadline_s": 0.2, "on_client_error": "drop"},
    "buffer": {
        "devices": "lognormal",
        "cohort": None,
        "strategy": "fedbuff",
        "asynchronous": {"concurrency": 5, "buffer": 2},
    },
    "one by one": {
        "devices": "lognormal",
        "cohort": None,
        "strategy": "fedasync",
        "asynchronous": {"concurrency": 5},
    },
}


@pytest.mark.parametrize("name", TIMED)
def test_an_interrupted_run_has_the_same_events_and_bits(name: str) -> None:
    whole, expected = ran(TIMED[name])
    run = Ran(experiment(TIMED[name]))
    for after in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            run.go(Told(interrupt_after=after))
    result = run.go()
    assert result.model_sha256 == expected.model_sha256
    assert run.measured == whole.measured
    assert events.told(run.folder.path) == events.told(whole.folder.path) != []
    (stored,) = run.tracker.runs.values()
    assert stored.files["events.txt"].decode().splitlines() == events.told(run.folder.path)


@pytest.mark.parametrize("name", TIMED)
def test_virtual_time_goes_on(name: str) -> None:
    run, _ = ran(TIMED[name])
    times = [record.metrics["virtual_time"] for record in run.history]
    assert times == sorted(times)
    assert times[0] > 0
    taken = [record.metrics["virtual_seconds"] for record in run.history]
    assert sum(taken) == pytest.approx(times[-1], abs=1e-5)


def test_without_devices_there_are_no_events() -> None:
    run, _ = ran()
    assert events.told(run.folder.path) == []
    (stored,) = run.tracker.runs.values()
    assert "events.txt" not in stored.files


@pytest.mark.parametrize(
    ("federated", "words"),
    [
        ({"strategy": "fedbuff"}, "needs it, such as"),
        ({"asynchronous": {"concurrency": 3}}, "it needs federated.devices"),
        ({"round_deadline_s": 1.0}, "it needs federated.devices"),
        ({"devices": "pareto", "asynchronous": {"concurrency": 3}}, "leave federated.cohort out"),
        ({"devices": "pareto", "deadline_s": 2.0}, "set federated.round_deadline_s instead"),
        (
            {"devices": "pareto", "cohort": None, "asynchronous": {"concurrency": 2, "buffer": 3}},
            "at most concurrency",
        ),
        (
            {"devices": "pareto", "cohort": None, "asynchronous": {"concurrency": 21}},
            "from 1 to the number of clients",
        ),
    ],
)
def test_time_that_can_t_be_kept_is_refused_before_the_run(federated: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ran(federated)


def test_the_root_of_a_rule_is_in_every_cohort_and_never_attacks() -> None:
    run, _ = ran(
        {
            "aggregator": {"name": "fltrust", "root_client": 7},
            "attack": {"name": "sign_flip", "fraction": 0.9},
            "rounds": 5,
        }
    )
    table = [line.split(",") for line in _clients(run)]
    assert {row[0]: row[2] for row in table}["7"] == "5"
    assert {record.metrics["updates"] for record in run.history} <= {5, 6}


@pytest.mark.parametrize("chosen", [[], [1], [1, 7], [9, 12]])
def test_a_client_is_added_once_and_taken_from_the_spares(chosen: list[int]) -> None:
    cohort = with_client(Cohort(np.array(chosen, dtype=np.int64), np.array([7, 3])), 7)
    assert cohort.chosen.tolist() == sorted({*chosen, 7})
    assert 3 in cohort.spares
    if 7 not in chosen:
        assert 7 not in cohort.spares


def test_a_rule_needs_as_many_updates_as_it_was_made_for() -> None:
    rule = {"name": "krum", "num_byzantine": 2}
    with pytest.raises(ConfigError, match="needs 7 updates of a round at least"):
        ran({"aggregator": rule})
    assert ran({"aggregator": rule, "cohort": 7})[1].rounds == 4


def test_a_root_that_is_no_client_is_refused() -> None:
    with pytest.raises(ConfigError, match="root_client must be below the number of clients, which is 20"):
        ran({"aggregator": {"name": "fltrust", "root_client": 20}})


def test_batch_norm_would_carry_lies_past_the_rule() -> None:
    with pytest.raises(IncompatibleModel, match="averaged past the rule"):
        ran({"aggregator": "median"}, model={"name": "mlp", "hidden": [8], "norm": "batch"})


def test_a_backdoor_is_measured_by_its_success() -> None:
    attack = {"name": "backdoor", "fraction": 0.5, "factor": 3.0, "size": 2}
    run, result = ran({"attack": attack, "rounds": 6, "local_epochs": 3})
    assert 0.0 <= result.metrics["backdoor_accuracy"] <= 1.0
    clean = ran({"rounds": 6, "local_epochs": 3})[1]
    assert "backdoor_accuracy" not in clean.metrics
    assert all("backdoor_loss" in record.metrics for record in run.history)


def _clients(run: Ran) -> list[str]:
    (stored,) = run.tracker.runs.values()
    return stored.files["clients.csv"].decode().splitlines()
