"""Asks every node of the Ray cluster that this process belongs to."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nnray.runners.doctor.finding import Finding
from nnray.runners.doctor.judge import clocks, judge, ports
from nnray.runners.doctor.node import Probe, read_token, remove, write_token
from nnray.runners.doctor.storage import storage_told

_ANSWER_S = 180.0
_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Node:
    """A node that can be asked.

    Args:
        address: As the cluster calls it.
        probe: The actor that stands on it.
    """

    address: str
    probe: Any


def examine_nodes(storage: str | None) -> list[Finding]:
    """Look at all nodes, and at what is between them.

    Args:
        storage: What all must reach; None leaves it out.
    """
    every: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    alive = [node for node in every if node["Alive"]]
    nodes, findings = _reach(alive)
    gone = len(every) - len(alive)
    told = f"{len(nodes)} of {len(alive)} nodes answer" + (
        f"; {gone} left since the cluster began" if gone else ""
    )
    findings = [Finding("nodes", "ok" if len(nodes) == len(alive) else "problem", told), *findings]
    if nodes:
        findings += judge(ray.get([node.probe.look.remote() for node in nodes], timeout=_ANSWER_S))
        findings += [_clocks(nodes), _ports(nodes)]
    if storage:
        findings.append(_storage(nodes, storage))
    for node in nodes:
        ray.kill(node.probe)
    return findings


def _reach(alive: Sequence[dict[str, Any]]) -> tuple[list[Node], list[Finding]]:
    nodes, findings = [], []
    for node in alive:
        where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        given = float(node["Resources"].get("GPU", 0.0))
        actor = ray.remote(Probe).options(num_cpus=0, scheduling_strategy=where)
        nodes.append(Node(node["NodeManagerAddress"], actor.remote(node["NodeManagerAddress"], given)))
    good = []
    for one in nodes:
        try:
            ray.get(one.probe.port.remote(), timeout=_ANSWER_S)
            good.append(one)
        except (RayError, GetTimeoutError) as error:
            why = str(error).strip().splitlines() or ["no answer"]
            findings.append(Finding("nodes", "problem", f"{one.address}: {why[-1]}"))
    return good, findings


def _clocks(nodes: Sequence[Node]) -> Finding:
    return clocks({node.address: _offset(node) for node in nodes})


def _offset(node: Node) -> tuple[float, float]:
    """How far a clock is ahead of this one, and how far that may be wrong: of the quickest answer."""
    best = (0.0, float("inf"))
    for _ in range(_ROUNDS):
        before = time.time()
        theirs: float = ray.get(node.probe.clock.remote(), timeout=_ANSWER_S)
        after = time.time()
        best = min(best, (theirs - (before + after) / 2, (after - before) / 2), key=lambda pair: pair[1])
    return best


def _ports(nodes: Sequence[Node]) -> Finding:
    open_at: list[int] = ray.get([node.probe.port.remote() for node in nodes], timeout=_ANSWER_S)
    places = [(node.address, port) for node, port in zip(nodes, open_at, strict=True)]
    answers: list[list[str]] = ray.get([node.probe.knock.remote(places) for node in nodes], timeout=_ANSWER_S)
    tried = list(itertools.product(nodes, nodes))
    failures = [
        f"{here.address} to {there.address}: {why}"
        for (here, there), why in zip(tried, itertools.chain.from_iterable(answers), strict=True)
        if why
    ]
    return ports(failures, tried=len(tried))


def _storage(nodes: Sequence[Node], storage: str) -> Finding:
    """What this process writes every node reads, and the other way round."""
    names = [".nnray-doctor", *(f".nnray-doctor-{number}" for number in range(len(nodes)))]
    wrong = []
    try:
        own = write_token(storage, names[0])
        for node, name in zip(nodes, names[1:], strict=True):
            wrong += _shared(node, storage, names[0], own=own, name=name)
        remove(storage, names)
    except Exception as error:  # noqa: BLE001 (each file system has errors of its own)
        wrong.append(str(error).splitlines()[0])
    return storage_told(storage, wrong, nodes=len(nodes))


def _shared(node: Node, storage: str, theirs: str, *, own: str, name: str) -> list[str]:
    try:
        if ray.get(node.probe.read.remote(storage, theirs), timeout=_ANSWER_S) != own:
            return [f"{node.address} reads something else than was written"]
        wrote = ray.get(node.probe.write.remote(storage, name), timeout=_ANSWER_S)
        if read_token(storage, name) != wrote:
            return [f"what {node.address} writes is not what is read here"]
    except (RayError, GetTimeoutError, OSError) as error:
        return [f"{node.address}: {str(error).strip().splitlines()[-1]}"]
    return []
