"""A cluster that is there already is used and left alone; an address that leads nowhere is named."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import ray

from nnray.runners.cluster import Cluster, Resources
from nnray.runners.cores import available_cores

pytestmark = pytest.mark.ray
ALONE = """
import os, ray
from pathlib import Path
from nnray.runners import disconnect
from nnray.runners.cluster import Cluster, Resources
held, take_down = [], disconnect._CoreWorker.shutdown_driver
def drop_what_is_held(core):
    take_down(core)
    held.clear()
disconnect._CoreWorker.shutdown_driver = drop_what_is_held
with Cluster(Resources(1), advice="") as cluster:
    print(cluster.resources().cpus)
    folder = cluster._folder
    print(oct(folder.stat().st_mode & 0o777))
    held.append(ray.remote(lambda: os.environ.get("RAY_AUTH_MODE")).remote())
    print(ray.get(held[0]))
print(ray.is_initialized(), folder.exists(), "RAY_AUTH_MODE" in os.environ)
"""


def test_a_cluster_in_use_is_shared_and_left_running(cluster: Cluster) -> None:
    with Cluster(Resources(1), advice="") as second:
        assert second.resources() == cluster.resources()
    assert ray.is_initialized()
    assert ray.get(ray.remote(lambda: 7).remote()) == 7


def test_a_private_cluster_stands_beside_another_and_leaves_nothing(cluster: Cluster) -> None:
    """All cores, a token; its folder goes with it, and what is held of it may be dropped late."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [f"{available_cores():.1f}", "0o700", "token", "False", "False", "False"]
    assert cluster.resources().cpus == available_cores()


def test_an_address_that_leads_nowhere_is_named() -> None:
    code = (
        "from nnray.runners.cluster import Cluster, Resources\n"
        "with Cluster(Resources(1), advice='') as cluster:\n"
        "    try: cluster.resources()\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
    )
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment,
        check=False,
    )
    assert done.stdout.startswith("ClusterError can't connect to the Ray cluster at 127.0.0.1:1: "), (
        done.stderr
    )
    assert "RAY_AUTH_MODE=token" in done.stdout
