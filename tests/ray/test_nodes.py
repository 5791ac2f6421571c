"""Nodes for tests are real ones: they can be lost, and their network as well."""

from __future__ import annotations

import json
import select
import subprocess
from collections.abc import Iterator

import pytest

from tests.nodes import NOTICED_S, Namespaces, Nodes, can_have_namespaces, loopback_nodes, namespace_nodes

pytestmark = pytest.mark.ray
with_namespaces = pytest.mark.skipif(
    not can_have_namespaces(), reason="needs root, iproute2 and a kernel that lets it make namespaces"
)

LOST = {"ActorDiedError", "ActorUnavailableError"}

# Holds an actor on the node that has the resource named. A line of its input is a call, answered by a line.
DRIVER = """
import json, os, sys, time
import ray

ray.init(logging_level="ERROR", log_to_driver=False)

@ray.remote(resources={sys.argv[1]: 1}, max_restarts=0, max_task_retries=0)
class Far:
    def where(self):
        return [ray.util.get_node_ip_address(), os.listdir("/tmp")]

far = Far.remote()
print(">", json.dumps([ray.get(far.where.remote()), ray.cluster_resources()["CPU"]]), flush=True)
for line in sys.stdin:
    begun = time.monotonic()
    try:
        print(">", json.dumps(ray.get(far.where.remote())[0]), flush=True)
    except ray.exceptions.RayError as error:
        print(">", json.dumps([type(error).__name__, time.monotonic() - begun]), flush=True)
"""


class Driver:
    """The program above, on the head.

    Args:
        nodes: The cluster.
        far: A resource of the node that it has its actor on.
    """

    def __init__(self, nodes: Nodes, far: str) -> None:
        self._process: subprocess.Popen[str] = nodes.python(DRIVER, far)
        self.first = self.answer()

    def ask(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def has_answered(self, within_s: float) -> bool:
        return bool(select.select([self._process.stdout], [], [], within_s)[0])

    def answer(self) -> object:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # Ray says in between what it saw.
            if line.startswith(">"):
                return json.loads(line[1:])
        raise AssertionError("the driver has ended")


@pytest.fixture
def hosts() -> Iterator[Nodes]:
    """A head in namespaces, alone."""
    with namespace_nodes() as nodes:
        nodes.add(cpus=0)
        yield nodes


def add_far(nodes: Nodes, name: str) -> Namespaces:
    host = nodes.add(resources=json.dumps({name: 1}))
    assert isinstance(host, Namespaces)
    return host


def test_a_node_on_loopback_can_be_killed() -> None:
    with loopback_nodes() as nodes:
        nodes.add()
        far = nodes.add(cpus=2, resources='{"far": 1}')
        driver = Driver(nodes, "far")
        _, cpus = driver.first  # type: ignore[misc]
        assert cpus == 3
        far.cut()
        driver.ask()
        name, _ = driver.answer()  # type: ignore[misc]
        assert name in LOST


@with_namespaces
def test_a_node_in_namespaces_is_a_host_whose_cable_can_be_pulled(hosts: Nodes) -> None:
    host = add_far(hosts, "unplugged")
    driver = Driver(hosts, "unplugged")
    (address, files), _ = driver.first  # type: ignore[misc]
    assert address == host.address != hosts.hosts[0].address
    # Its own /tmp, with the shared folder in it.
    assert hosts.folder.name in files
    assert not [name for name in files if name.startswith("pytest-of-")]
    # A short break: the call waits, and goes on.
    host.link(up=False)
    driver.ask()
    assert not driver.has_answered(within_s=2.0)
    host.link(up=True)
    assert driver.answer() == host.address


@with_namespaces
def test_a_node_that_falls_silent_is_given_up_soon(hosts: Nodes) -> None:
    host = add_far(hosts, "silent")
    driver = Driver(hosts, "silent")
    host.link(up=False)
    driver.ask()
    name, waited_s = driver.answer()  # type: ignore[misc]
    assert name in LOST
    print(f"noticed after {waited_s:.1f} s")
    # Ray's own default is about a minute; a loaded machine is given four times what is configured.
    assert waited_s < 4 * NOTICED_S


@with_namespaces
def test_power_that_is_cut_takes_all_of_a_host(hosts: Nodes) -> None:
    host = add_far(hosts, "dark")
    driver = Driver(hosts, "dark")
    host.cut()
    driver.ask()
    name, _ = driver.answer()  # type: ignore[misc]
    assert name in LOST
    late = host.popen(["true"], stderr=subprocess.DEVNULL)
    assert late.wait() != 0
