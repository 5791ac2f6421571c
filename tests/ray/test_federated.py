"""Federated clients on Ray actors: the same bits as in one process, whatever happens to the actors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nnray.errors import ClientFailure, ClusterError
from nnray.runners.cluster import Cluster
from tests.unit.runners.federated.small import FAULTS, Ran, Told, experiment, ran

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("cluster")]
HALF = {"cpus_per_worker": 0.5}
FEW = {"clients": 6, "cohort": 6, "partition": "iid", "rounds": 3}


def breaks(how: str, *clients: int, **options: Any) -> dict[str, Any]:
    return {"name": f"{FAULTS}breaks", "how": how, "clients": list(clients), **options}


def test_one_hash_for_any_number_of_workers() -> None:
    """With dropout, clients' states, parts held out, and rounds that are measured."""
    options = {"strategy": "scaffold", "holdout": 0.2, **HALF}
    alone, expected = ran(options)
    for workers in (1, 2, 4):
        run, result = ran({**options, "workers": workers})
        assert result.model_sha256 == expected.model_sha256, workers
        assert run.measured == alone.measured, workers


def test_side_by_side_too() -> None:
    options = {"clients": 20, "cohort": 20, "stacked": True, "partition": "quantity_dirichlet", **HALF}
    model = {"name": "mlp", "hidden": [8]}
    _, expected = ran(options, model=model)
    for workers in (1, 3):
        assert ran({**options, "workers": workers}, model=model)[1].model_sha256 == expected.model_sha256


def test_a_worker_that_is_killed_is_replaced_and_changes_nothing(tmp_path: Path) -> None:
    _, expected = ran(FEW)
    killing = breaks("kill", 4, once=str(tmp_path / "killed"))
    run, result = ran({**FEW, "strategy": killing, "workers": 2})
    assert (tmp_path / "killed").exists()
    assert result.model_sha256 == expected.model_sha256
    assert len(result.faults) == 1
    assert "federated worker" in result.faults[0]
    assert "was lost" in result.faults[0]
    assert [record.metrics["failures"] for record in run.history] == [0, 0, 0]


def test_a_client_that_kills_every_worker_is_found_and_named() -> None:
    rest = {**FEW, "rounds": 1}
    run = Ran(experiment({**rest, "strategy": breaks("kill", 4), "workers": 2, "on_client_error": "drop"}))
    told = Told()
    result = run.go(told)
    (failure,) = run.history[0].failures
    assert (failure["client"], failure["fate"]) == (4, "dropped")
    assert "its worker was lost 2 times" in failure["error"]
    _, expected = ran({**rest, "strategy": breaks("nan", 4), "on_client_error": "drop"})
    assert result.model_sha256 == expected.model_sha256
    assert any("was lost" in note for note in told.notes)


def test_a_client_that_hangs_is_cut_off() -> None:
    rest = {**FEW, "rounds": 1, "on_client_error": "drop"}
    run, result = ran({**rest, "strategy": breaks("hang", 3), "workers": 2, "deadline_s": 2.0})
    (failure,) = run.history[0].failures
    assert failure["client"] == 3
    assert "took longer than federated.deadline_s, 2 s" in failure["error"]
    _, expected = ran({**rest, "strategy": breaks("nan", 3)})
    assert result.model_sha256 == expected.model_sha256


def test_a_client_that_raises_is_named_from_afar() -> None:
    run = Ran(experiment({**FEW, "strategy": breaks("raise", 2), "workers": 2}))
    with pytest.raises(ClientFailure, match=r"client 2: RuntimeError: the sensor of client 2 is off"):
        run.go()


def test_an_interrupted_run_goes_on_with_other_workers() -> None:
    options = {"strategy": "feddyn", **HALF}
    _, expected = ran(options)
    run = Ran(experiment({**options, "workers": 2}))
    with pytest.raises(KeyboardInterrupt):
        run.go(Told(interrupt_after=2))
    run.folder.reconfigure(experiment({**options, "workers": 1}))
    assert run.go().model_sha256 == expected.model_sha256


def test_more_workers_than_fit_are_refused_at_once(cluster: Cluster) -> None:
    cores = int(cluster.resources().cpus)
    run = Ran(experiment({"workers": cores + 1}))
    with pytest.raises(ClusterError, match=rf"{cores + 1} CPUs are asked for|{cores + 1} workers of 1 CPU"):
        run.go()
    assert not run.folder.path.exists()


def test_workers_are_as_many_as_cores_if_nobody_says(cluster: Cluster) -> None:
    _, expected = ran(FEW)
    assert ran({**FEW, "workers": None})[1].model_sha256 == expected.model_sha256
