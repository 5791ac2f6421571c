"""Trees of sums against brute force."""

from __future__ import annotations

import itertools
import math

import pytest

from nnray.privacy.tree import changed_nodes, nodes_of, tree_sensitivity


def rounds_of(node: tuple[int, int]) -> set[int]:
    level, place = node
    return set(range(place << level, place + 1 << level))


@pytest.mark.parametrize("steps", range(70))
def test_nodes_of_a_sum_cover_each_round_once(steps: int) -> None:
    covered = [round_ for node in nodes_of(steps) for round_ in rounds_of(node)]
    assert sorted(covered) == list(range(steps))
    assert len(nodes_of(steps)) == steps.bit_count()


def test_changes_add_up_to_the_nodes_of_the_sum() -> None:
    standing: set[tuple[int, int]] = set()
    for step in range(1, 70):
        added, gone = changed_nodes(step)
        assert len(added) == 1
        assert set(gone) <= standing
        standing = standing - set(gone) | set(added)
        assert standing == set(nodes_of(step))


def brute_force(steps: int, times: int) -> float:
    released = {node for step in range(1, steps + 1) for node in nodes_of(step)}
    # Nodes that merge on the way to a larger one are released, too, within the same round.
    released |= {(level, place) for level in range(steps.bit_length()) for place in range(steps >> level)}
    patterns = itertools.combinations(range(steps), min(times, steps))
    return max(
        math.sqrt(sum(len(rounds_of(node) & set(pattern)) ** 2 for node in released)) for pattern in patterns
    )


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 6, 7, 8, 11, 13])
@pytest.mark.parametrize("times", [1, 2, 3, 5])
def test_the_sensitivity_is_that_of_the_worst_rounds(steps: int, times: int) -> None:
    assert tree_sensitivity(steps, max_participations=times) == pytest.approx(brute_force(steps, times))


def test_no_rounds_have_no_sensitivity() -> None:
    assert tree_sensitivity(0, max_participations=3) == 0.0


def test_it_grows_with_rounds_and_with_participations() -> None:
    by_steps = [tree_sensitivity(steps, max_participations=2) for steps in range(1, 40)]
    assert by_steps == sorted(by_steps)
    by_times = [tree_sensitivity(40, max_participations=times) for times in range(1, 40)]
    assert by_times == sorted(by_times)
