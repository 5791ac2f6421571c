"""What a cluster must have, and what is said where it has less; nothing is started here."""

from __future__ import annotations

import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray._private.accelerators import get_accelerator_manager_for_resource

from nnray.errors import ClusterError
from nnray.runners import cluster
from nnray.runners.cluster import Cluster, Resources
from nnray.runners.cores import available_cores


@pytest.mark.parametrize(
    ("resources", "text"),
    [
        (Resources(1), "1 CPU"),
        (Resources(2.5), "2.5 CPUs"),
        (Resources(4, 1), "4 CPUs and 1 GPU"),
        (Resources(0.5, 0.25), "0.5 CPUs and 0.25 GPUs"),
    ],
)
def test_resources_in_words(resources: Resources, text: str) -> None:
    assert str(resources) == text


@given(
    cpus=st.integers(1, 64), gpus=st.integers(0, 8), share=st.sampled_from([0.1, 0.25, 0.3, 1 / 3, 0.5, 1, 2])
)
def test_as_many_fit_as_fit(cpus: int, gpus: int, share: float) -> None:
    has, each = Resources(cpus, gpus), Resources(1, share)
    often = each.how_often(has)
    assert each.times(often).cpus <= cpus
    assert each.times(often).gpus <= gpus + 1e-6
    assert not each.times(often + 1).fits(Resources(cpus - 1e-6, gpus - 1e-6))


def test_ten_tenths_fit_into_one() -> None:
    assert Resources(0.1).how_often(Resources(1)) == 10


def test_more_cores_than_there_are_is_an_error_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster, "_is_connected", lambda: False)
    asked = available_cores() + 1
    with pytest.raises(ClusterError) as caught:
        Cluster(Resources(asked), advice="lower sweep.cpus_per_trial")
    text = str(caught.value)
    assert f"{asked} CPUs are asked for, this machine has {available_cores()} CPU" in text
    assert text.endswith("lower sweep.cpus_per_trial")


def test_gpus_that_are_not_there_are_an_error_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_is_connected", lambda: False)
    monkeypatch.setattr(cluster, "_gpus", lambda: 2)
    with pytest.raises(
        ClusterError, match=r"1 CPU and 3 GPUs are asked for, this machine .* and 2 GPUs: less"
    ):
        Cluster(Resources(1, 3), advice="less")
    Cluster(Resources(1, 2), advice="")


@pytest.mark.parametrize(
    ("there", "visible", "count"), [(4, None, 4), (4, ["0", "3"], 2), (0, None, 0), (2, [], 0)]
)
def test_gpus_are_counted_as_ray_does(
    monkeypatch: pytest.MonkeyPatch, there: int, visible: list[str] | None, count: int
) -> None:
    kind = get_accelerator_manager_for_resource("GPU")
    monkeypatch.setattr(kind, "get_current_node_num_accelerators", lambda: there)
    monkeypatch.setattr(kind, "get_current_process_visible_accelerator_ids", lambda: visible)
    assert cluster._gpus() == count


def test_a_cluster_elsewhere_is_not_measured_by_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    Cluster(Resources(available_cores() + 1), advice="")


def test_the_token_is_for_its_owner_alone_and_stays_the_same() -> None:
    path = cluster._token_file()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len(path.read_text()) == 64
    assert cluster._token_file() == path


def test_a_long_temporary_folder_is_not_used_for_sockets(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    long = tmp_path_factory.mktemp("x" * 60)
    monkeypatch.setattr(cluster.tempfile, "gettempdir", lambda: str(long))
    folder = cluster._short_folder()
    assert len(str(folder)) <= 40
    folder.rmdir()


def test_the_environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NNRAY_A", "old")
    monkeypatch.delenv("NNRAY_B", raising=False)
    with cluster._environment({"NNRAY_A": "new", "NNRAY_B": None}):
        assert os.environ["NNRAY_A"] == "new"
        os.environ["NNRAY_B"] = "set by a library"
    assert os.environ["NNRAY_A"] == "old"
    assert "NNRAY_B" not in os.environ
