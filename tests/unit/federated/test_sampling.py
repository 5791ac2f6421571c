"""How many each sampler takes, and what it refuses."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnray.errors import DataError
from nnray.federated.sampling import poisson, trace, uniform


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("num_clients", [1, 5, 100, 10**6])
@pytest.mark.parametrize("cohort", [1, 4, 60])
def test_uniform_takes_exactly_the_cohort(num_clients: int, cohort: int) -> None:
    if cohort > num_clients:
        with pytest.raises(
            DataError, match=rf"federated\.cohort: {cohort} of {num_clients} clients; allowed"
        ):
            uniform(num_clients, rng(), cohort=cohort)
    else:
        drawn = uniform(num_clients, rng(), cohort=cohort, spare=3)
        assert len(drawn.chosen) == cohort
        assert len(drawn.spares) == min(3, num_clients - cohort)


def test_uniform_over_all_clients_is_all_clients() -> None:
    drawn = uniform(30, rng(), cohort=30, spare=5)
    assert drawn.chosen.tolist() == list(range(30))
    assert drawn.spares.tolist() == []


@pytest.mark.parametrize("num_clients", [5, 9])
def test_every_set_is_as_likely_as_any_other(num_clients: int) -> None:
    """Both ways of drawing, by shuffling all (2 of 5) and by keeping what moved (2 of 9)."""
    generator, rounds = rng(11), 20_000
    sets = list(combinations(range(num_clients), 2))
    counts = dict.fromkeys(sets, 0)
    for _ in range(rounds):
        first, second = uniform(num_clients, generator, cohort=2).chosen.tolist()
        counts[first, second] += 1
    share = 1 / len(sets)
    worst = max(abs(count - rounds * share) for count in counts.values())
    assert worst < 6 * np.sqrt(rounds * share * (1 - share))


def test_spares_are_as_likely_as_any_other() -> None:
    generator, counts = rng(12), np.zeros(20)
    for _ in range(10_000):
        counts[uniform(20, generator, cohort=3, spare=2).spares] += 1
    assert abs(counts - 1000).max() < 6 * np.sqrt(10_000 * 0.1 * 0.9)


def test_poisson_has_the_binomial_number_of_clients() -> None:
    generator = rng(13)
    sizes = np.array([len(poisson(1000, generator, cohort=20)) for _ in range(4000)])
    # Mean 20 and variance 19.6, within six standard errors.
    assert abs(sizes.mean() - 20) < 6 * np.sqrt(19.6 / 4000)
    assert abs(sizes.var() - 19.6) < 6 * 19.6 * np.sqrt(2 / 4000)


def test_poisson_may_be_empty_and_takes_all_at_probability_one() -> None:
    generator = rng(14)
    empty = sum(len(poisson(100, generator, cohort=1)) == 0 for _ in range(2000))
    assert abs(empty / 2000 - 0.99**100) < 0.07
    assert poisson(7, generator, cohort=7).chosen.tolist() == list(range(7))
    with pytest.raises(DataError, match=r"federated\.cohort: 8 of 7"):
        poisson(7, generator, cohort=8)


def test_poisson_tosses_are_independent() -> None:
    """Two clients are together as often as the product of their probabilities says."""
    generator, both, rounds = rng(15), 0, 20_000
    for _ in range(rounds):
        chosen = poisson(10, generator, cohort=3).chosen
        both += bool(0 in chosen and 1 in chosen)
    assert abs(both - rounds * 0.09) < 6 * np.sqrt(rounds * 0.09 * 0.91)


def written(rounds: Any) -> str:
    Path("trace.json").write_text(rounds if isinstance(rounds, str) else json.dumps(rounds))
    return "trace.json"


def at(number: int, rounds: Any, *, cohort: int = 2, spare: int = 0) -> Any:
    return trace(10, rng(), file=written(rounds), round=number, cohort=cohort, spare=spare)


def test_a_trace_gives_those_that_are_there_and_begins_again() -> None:
    rounds = [[1, 3], [9, 2, 5, 7], []]
    assert [at(number, rounds).chosen.tolist() for number in (1, 4)] == [[1, 3], [1, 3]]
    assert set(at(2, rounds).chosen.tolist()) <= {2, 5, 7, 9}
    assert at(3, rounds).chosen.tolist() == at(6, rounds).chosen.tolist() == []


def test_fewer_than_the_cohort_are_all_taken_and_spares_are_of_those_there() -> None:
    assert at(1, [[4, 1]], cohort=5, spare=2).chosen.tolist() == [1, 4]
    drawn = at(1, [[4, 1, 8]], cohort=1, spare=7)
    assert sorted(drawn.chosen.tolist() + drawn.spares.tolist()) == [1, 4, 8]


def test_the_order_in_the_file_means_nothing() -> None:
    assert at(1, [[4, 1, 8, 0]]).chosen.tolist() == at(1, [[8, 0, 4, 1]]).chosen.tolist()


@pytest.mark.parametrize(
    ("rounds", "problem"),
    [
        ("[[1, 2], ", "not readable JSON"),
        ("[" * 100_000, "not readable JSON"),
        ("{}", r"holds \{\}; expected a JSON list over rounds"),
        ([], r"holds \[\]; expected"),
        ([3], "round 1 is 3; expected"),
        ([[1, "2"]], "round 1 is .*; expected"),
        ([[1, True]], "round 1 is .*; expected"),
        ([[1.5]], "round 1 is .*; expected"),
        ([[1, 2, 1]], "round 1 names a client twice"),
        ([[1, 10]], "round 1 names client 10; allowed: 0 to 9"),
        ([[-1, 2]], "round 1 names client -1; allowed: 0 to 9"),
    ],
)
def test_a_wrong_trace_is_told_with_its_file_and_round(rounds: Any, problem: str) -> None:
    with pytest.raises(DataError, match=rf"federated\.sampler\.file: trace\.json.*{problem}"):
        at(1, rounds)


def test_a_trace_that_is_missing_is_told() -> None:
    with pytest.raises(DataError, match=r"gone\.json can't be read \(No such file"):
        trace(10, rng(), file="gone.json", round=1, cohort=1)


def test_a_trace_is_read_again_once_it_has_changed() -> None:
    assert at(1, [[1]]).chosen.tolist() == [1]
    assert at(1, [[2, 3]]).chosen.tolist() == [2, 3]
