"""How many trials have room: what is placed whole, on nodes that are not one machine."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnray.errors import ClusterError
from nnray.runners.cluster import Resources
from nnray.runners.sweep.demand import Demand

PAIR = Demand(Resources(2.0), 2, "lower parallel.workers")
NODES = st.lists(st.builds(Resources, st.integers(0, 6), st.integers(0, 2)), max_size=3)


def fits(demand: Demand, nodes: list[Resources], trials: int) -> bool:
    """Whether there is a way to place so many trials' workers, found by trying all."""
    for places in product(range(len(nodes)), repeat=trials * demand.workers):
        loads = [demand.worker.times(places.count(place)) for place in range(len(nodes))]
        if all(load.fits(node) for load, node in zip(loads, nodes, strict=True)):
            return True
    return False


@given(NODES, st.integers(1, 2), st.sampled_from([1.0, 2.0, 3.0]), st.sampled_from([0.0, 1.0]))
def test_the_room_is_what_trying_all_ways_finds(
    nodes: list[Resources], workers: int, cpus: float, gpus: float
) -> None:
    demand = Demand(Resources(cpus, gpus), workers)
    often = min(demand.how_often(nodes), 2)
    assert often == 0 or fits(demand, nodes, often)
    assert often == 2 or not fits(demand, nodes, often + 1)


@given(NODES, st.sampled_from([0.5, 1.0, 2.0]))
def test_one_worker_on_one_node_is_a_plain_trial(nodes: list[Resources], cpus: float) -> None:
    demand = Demand(Resources(cpus))
    assert demand.how_often(nodes) == sum(demand.worker.how_often(node) for node in nodes)
    assert demand.total == demand.worker


def test_a_worker_has_a_bundle_and_no_gpu_of_zero() -> None:
    assert Demand(Resources(2.0, 0.5), 3).bundles() == [{"CPU": 2.0, "GPU": 0.5}] * 3
    assert Demand(Resources(1.0)).bundles() == [{"CPU": 1.0}]


def test_fractions_of_a_gpu_are_shared() -> None:
    assert Demand(Resources(1.0, 0.25), 2).how_often([Resources(16, 1)]) == 2


def test_enough_in_all_but_on_no_node_is_an_error() -> None:
    """Ray would wait for ever."""
    with pytest.raises(ClusterError) as caught:
        PAIR.room([Resources(1), Resources(1), Resources(1), Resources(1)], trials=1)
    assert str(caught.value) == (
        "a trial of 2 workers with 2 CPUs each: there is room for 0, for a worker must fit on one node, and "
        "the nodes have 1 CPU; 1 CPU; 1 CPU; 1 CPU: lower parallel.workers"
    )


def test_what_an_autoscaler_can_bring_counts() -> None:
    alone = [Resources(1)]
    assert PAIR.room(alone, trials=2, ceiling=PAIR.total.times(3)) == 3
    assert PAIR.room([Resources(100)], trials=1, ceiling=Resources(1)) == PAIR.how_often([Resources(100)])
    with pytest.raises(ClusterError, match="there is room for 0"):
        PAIR.room(alone, trials=1, ceiling=Resources(PAIR.worker.cpus))


def test_fewer_at_a_time_than_are_asked_for_is_an_error() -> None:
    assert PAIR.room([Resources(5), Resources(5)], trials=2) == 2
    with pytest.raises(
        ClusterError, match=r"3 trials at a time of 2 workers .* room for 2, .* 5 CPUs; 5 CPUs"
    ):
        PAIR.room([Resources(5), Resources(5)], trials=3)
