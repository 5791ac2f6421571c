"""Laws that every robust rule of the catalog obeys: its paper's definition, and what liars can do to it."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nnray.catalog import CATALOG
from nnray.errors import ClientFailure
from nnray.federated.aggregation import aggregator as blocks
from nnray.federated.aggregation.aggregator import Aggregator
from nnray.registry import parameters
from nnray.seeding import torch_rng
from tests.contract import aggregator_oracles as oracles
from tests.contract.aggregator_oracles import CASES, Array

RULES = sorted(CATALOG["aggregator"])
SIZE = 6
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    **{name: {} for name in RULES},
    **{name: {"num_byzantine": 2} for name in ("krum", "multi_krum", "bulyan")},
}
every_rule = pytest.mark.parametrize("name", RULES)
every_case = pytest.mark.parametrize("case", CASES)


def make(name: str, **options: Any) -> Aggregator:
    module, _, function = CATALOG["aggregator"][name].partition(":")
    made: Aggregator = getattr(import_module(module), function)(**OPTIONS[name] | options)
    return made


def draw(count: int, *, seed: int = 0, size: int = SIZE) -> Tensor:
    return torch.randn(count, size, generator=torch_rng(seed, "updates", count, size))


def reference_of(name: str, x: Tensor) -> Tensor | None:
    """What the rules that trust a client are told it sent."""
    return x.double().mean(0).float() if name == "fltrust" else None


def ruled(name: str, x: Tensor, *, weights: Tensor | None = None, **options: Any) -> Tensor:
    given_ = None if weights is None else weights.tolist()
    return make(name, **options)(x, weights=given_, reference=reference_of(name, x))


def expected(case: str, x: Tensor, weights: Tensor) -> Array:
    name, _, told, _ = CASES[case]
    known: dict[str, Any] = dict(told(len(x)))
    if name == "fltrust":
        known["trusted"] = x.double().mean(0).float().double().numpy()
    found: Array = getattr(oracles, name)(x.double().numpy(), weights.double().numpy(), **known)
    return found


def check_against_oracle(case: str, x: Tensor, weights: Tensor, *, within: float = 1e-9) -> None:
    name, options, _, _ = CASES[case]
    found, wanted = ruled(name, x, weights=weights, **options).numpy(), expected(case, x, weights)
    assert found.dtype == np.float64
    if name == "geometric_median":
        # Where the sum of distances is flat, several points are as good: the sums are compared.
        rows = x.double().numpy()
        best = oracles.total_distance(rows, wanted)
        assert oracles.total_distance(rows, found) <= best * (1 + 1e-7) + 1e-7
        return
    np.testing.assert_allclose(found, wanted, rtol=within, atol=within * float(x.abs().max()))


def test_every_rule_has_a_case() -> None:
    assert {name for name, *_ in CASES.values()} == set(RULES)


@every_case
@given(more=st.integers(0, 6), seed=st.integers(0, 2**32))
def test_it_is_what_its_paper_says(case: str, more: int, seed: int) -> None:
    count = CASES[case][3] + more
    x = draw(count, seed=seed)
    check_against_oracle(case, x, 1 + torch.rand(count, generator=torch_rng(seed, "weights")))


@every_case
@given(seed=st.integers(0, 2**32), more=st.integers(0, 5))
def test_ties_and_duplicates_are_told_apart_by_number(case: str, seed: int, more: int) -> None:
    count = CASES[case][3] + more
    x = torch.randint(-1, 2, (count, 3), generator=torch_rng(seed, "ties")).float()
    check_against_oracle(case, x, torch.ones(count))


@every_case
@pytest.mark.parametrize("offset", [1e4, 1e6])
@pytest.mark.parametrize("seed", range(5))
def test_what_all_updates_share_costs_no_digits(case: str, offset: float, seed: int) -> None:
    count = CASES[case][3] + 4
    # Quarters, so that float32 holds them beside the offset.
    steps = torch.randint(-4, 5, (count, SIZE), generator=torch_rng(seed, "steps")) / 4
    x = offset + steps
    assert torch.equal((x.double() - offset).float(), steps)
    # Differences of rules that choose are of 0.25, and the tolerance here is finer.
    check_against_oracle(case, x, torch.ones(count), within=1e-12)


@pytest.mark.parametrize("case", [case for case in CASES if "krum" in case or "bulyan" in case])
@pytest.mark.parametrize("seed", range(3))
def test_neighbours_are_told_apart_where_float64_holds_their_norms_no_longer(case: str, seed: int) -> None:
    count, size, rng = CASES[case][3] + 2, 2000, torch_rng(seed, "near")
    # A sum of squares near 2^57 is a multiple of 32; the squared distances here are below 100.
    base = 2.0**23 + torch.randint(0, 2**22, (size,), generator=rng)
    x = base.repeat(count, 1)
    for row in x:
        row[torch.randint(0, size, (5,), generator=rng)] += torch.randint(1, 4, (5,), generator=rng)
    check_against_oracle(case, x, torch.ones(count), within=1e-12)


def test_in_float32_by_inner_products_krum_would_choose_wrongly() -> None:
    """What the test above is there for."""
    wrong = 0
    for seed in range(20):
        x = 1e4 + torch.randint(-4, 5, (9, SIZE), generator=torch_rng(seed, "steps")) / 4
        norms = x.square().sum(1)
        squares = norms[:, None] + norms - 2 * x @ x.T
        naive = int(squares.fill_diagonal_(torch.inf).sort(1).values[:, :5].sum(1).argmin())
        wrong += not torch.equal(x[naive].double(), ruled("krum", x))
    assert wrong > 5


CHOOSE = [
    case for case in CASES if case.split(",")[0] in {"median", "trimmed_mean", "krum", "multi_krum", "bulyan"}
]


@pytest.mark.parametrize("case", sorted(set(CHOOSE) - {"trimmed_mean, nothing cut", "bulyan, no liar"}))
@pytest.mark.parametrize("far", [1e3, 1e15, 1e30])
def test_an_update_far_away_costs_the_others_no_digits(case: str, far: float) -> None:
    name, options, _, fewest = CASES[case]
    x = draw(max(fewest, 5))
    x[-1] = far * draw(1, seed=1)[0]
    found = ruled(name, x, **options).numpy()
    np.testing.assert_allclose(found, expected(case, x, torch.ones(len(x))), rtol=1e-12, atol=1e-12)


@every_rule
@pytest.mark.parametrize("count", [1, 2, 3, 11, 12])
def test_one_update_repeated_is_itself(name: str, count: int) -> None:
    rule = make(name)
    count = max(count, rule.fewest)
    one = draw(1, seed=count)[0]
    found = rule([one.clone() for _ in range(count)], reference=reference_of(name, one[None]))
    torch.testing.assert_close(found, one.double(), rtol=1e-6 if name == "fltrust" else 1e-12, atol=1e-12)


@every_rule
def test_updates_of_zero_change_nothing(name: str) -> None:
    assert not ruled(name, torch.zeros(11, SIZE)).any()


@every_rule
@given(seed=st.integers(0, 2**32))
def test_the_order_of_clients_does_not_matter(name: str, seed: int) -> None:
    # With two liars Bulyan comes to look at one neighbour, and two that are each other's tie.
    options = {"num_byzantine": 3} if name == "bulyan" else {}
    x, order = draw(15, seed=seed), torch.randperm(15, generator=torch_rng(seed, "order"))
    weights = 1 + torch.rand(15, generator=torch_rng(seed, "weights"))
    found = [
        ruled(name, x, weights=weights, **options),
        ruled(name, x[order], weights=weights[order], **options),
    ]
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-6 if name == "geometric_median" else 1e-9)


MOVE_ALONG = set(RULES) - {"norm_clip", "centered_clip", "fltrust"}
"""The others measure updates from where the round began."""


@pytest.mark.parametrize("name", sorted(MOVE_ALONG))
def test_moved_updates_move_the_result(name: str) -> None:
    x = torch.randint(-8, 9, (12, SIZE), generator=torch_rng(2, "steps")) / 4
    by = torch.arange(SIZE) * 64.0
    torch.testing.assert_close(ruled(name, x + by), ruled(name, x) + by, rtol=1e-9, atol=1e-5)


@every_rule
@pytest.mark.parametrize("factor", [-1.0, 0.5, 4.0])
def test_scaled_updates_scale_the_result(name: str, factor: float) -> None:
    x = draw(12)
    torch.testing.assert_close(ruled(name, factor * x), factor * ruled(name, x), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", sorted(set(RULES) - {"mean"}))
def test_what_a_client_says_it_weighs_is_not_asked(name: str) -> None:
    x = draw(12)
    assert torch.equal(ruled(name, x, weights=torch.arange(12) + 1.0), ruled(name, x))


def test_the_mean_is_the_one_that_goes_by_weights() -> None:
    x = draw(2)
    found = make("mean")(x, weights=[3.0, 1.0])
    torch.testing.assert_close(found, (3 * x[0].double() + x[1].double()) / 4)


@every_rule
def test_the_bits_are_the_same_for_any_block(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = draw(12, size=97)
    whole = ruled(name, x)
    monkeypatch.setattr(blocks, "_BLOCK", 12 * 10)
    # Coordinates apart are the same to the bit; sums over them are added up block by block.
    apart = name in {"mean", "median", "trimmed_mean"}
    torch.testing.assert_close(ruled(name, x), whole, rtol=0 if apart else 1e-12, atol=0 if apart else 1e-9)
    assert float(whole.norm()) > 0


def test_steps_by_the_same_shares_have_the_same_bits_for_any_block(monkeypatch: pytest.MonkeyPatch) -> None:
    x, clips_nothing = draw(12, size=97), make("norm_clip", max_norm=1e9)
    whole = clips_nothing(x)
    for width in (1, 3, 10, 50):
        monkeypatch.setattr(blocks, "_BLOCK", 12 * width)
        assert torch.equal(clips_nothing(x), whole)


@every_rule
def test_nothing_that_it_is_given_is_changed(name: str) -> None:
    x, reference = draw(12), draw(1)[0]
    before = x.clone(), reference.clone()
    make(name)(x, reference=reference)
    assert torch.equal(x, before[0])
    assert torch.equal(reference, before[1])


@every_rule
def test_a_vector_without_entries_stays_one(name: str) -> None:
    empty = torch.zeros(0)
    assert make(name)([empty] * 11, reference=empty).shape == (0,)


@every_rule
def test_it_goes_to_a_worker_and_is_the_same_there(name: str) -> None:
    rule, x = make(name), draw(12)
    there: Aggregator = pickle.loads(pickle.dumps(rule))
    assert torch.equal(there(x, reference=x[0]), rule(x, reference=x[0]))
    assert (there.fewest, there.root, there.remembers) == (rule.fewest, rule.root, rule.remembers)


@every_rule
def test_too_few_updates_are_refused_with_the_numbers(name: str) -> None:
    rule = make(name)
    assert rule.problem(rule.fewest) is None
    with pytest.raises(ClientFailure, match=rf"{name}.*needs {rule.fewest} .*got {rule.fewest - 1}.*cohort"):
        rule(draw(12)[: rule.fewest - 1])


@pytest.mark.parametrize(
    ("name", "options", "fewest"),
    [
        ("krum", {"num_byzantine": 0}, 3),
        ("krum", {"num_byzantine": 3}, 9),
        ("multi_krum", {"num_byzantine": 3}, 9),
        ("multi_krum", {"num_byzantine": 3, "keep": 7}, 12),
        ("bulyan", {"num_byzantine": 3}, 15),
        ("median", {}, 1),
        ("trimmed_mean", {"beta": 0.49}, 1),
    ],
)
def test_the_fewest_updates_are_those_of_the_paper(name: str, options: dict[str, Any], fewest: int) -> None:
    """Source: Blanchard et al. 2017, n >= 2 f + 3; El Mhamdi et al. 2018, n >= 4 f + 3."""
    assert make(name, **options).fewest == fewest


BREAKS = [
    ("mean", {}, 9, 0, 1),
    ("median", {}, 9, 4, 5),
    ("median", {}, 10, 4, 5),
    ("trimmed_mean", {"beta": 0.3}, 10, 3, 4),
    ("trimmed_mean", {"beta": 0.29}, 100, 29, 30),
    ("geometric_median", {"max_iterations": 1000}, 9, 4, 5),
    ("krum", {"num_byzantine": 3}, 9, 3, 6),
    ("multi_krum", {"num_byzantine": 3}, 9, 3, 6),
    ("bulyan", {"num_byzantine": 2}, 11, 2, 9),
    ("norm_clip", {}, 9, 4, 5),
    ("centered_clip", {}, 9, 4, 5),
]
"""Rule, keys, updates, lies that it stands, and lies of one mind that it does not."""


def with_lies(count: int, lies: int, *, far: float, alike: bool) -> Tensor:
    """Honest updates within 1 of (1, 1, ...), then lies."""
    x = 1 + draw(count).clamp(-1, 1)
    if lies:
        x[-lies:] = far if alike else far * draw(lies, seed=9)
    return x


def astray(name: str, options: Mapping[str, Any], x: Tensor) -> float:
    return float((ruled(name, x, **options) - 1).norm())


@pytest.mark.parametrize(("name", "options", "count", "stands", "breaks"), BREAKS)
@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("far", [10.0, -1e4, 1e9])
def test_lies_up_to_the_breakdown_point_move_it_little(
    name: str, options: dict[str, Any], count: int, stands: int, breaks: int, alike: bool, far: float
) -> None:
    # The bound doesn't grow with the lies: clipped means may lie a few honest norms from the honest.
    assert astray(name, options, with_lies(count, stands, far=far, alike=alike)) < 10


@pytest.mark.parametrize(("name", "options", "count", "stands", "breaks"), BREAKS)
def test_lies_beyond_the_breakdown_point_move_it_anywhere(
    name: str, options: dict[str, Any], count: int, stands: int, breaks: int
) -> None:
    assert astray(name, options, with_lies(count, breaks, far=1e9, alike=True)) > 1e6


def test_trust_bounds_what_any_number_of_liars_can_do() -> None:
    """Source: Cao et al. 2021: no update is longer than the trusted one."""
    trusted = torch.ones(SIZE)
    for far in (-1e9, 1e9):
        found = make("fltrust")(torch.full((9, SIZE), far), reference=trusted)
        assert float(found.norm()) <= float(trusted.double().norm()) * (1 + 1e-12)
    assert not make("fltrust")(torch.full((9, SIZE), -1e9), reference=trusted).any()


@every_rule
def test_every_key_has_a_text(name: str) -> None:
    for key, parameter in parameters("aggregator", name).items():
        assert parameter.help.endswith("."), key
        assert parameter.required == (key == "num_byzantine")


def test_only_these_need_more_than_updates() -> None:
    made = {name: make(name) for name in RULES}
    assert {name for name, rule in made.items() if rule.root is not None} == {"fltrust"}
    assert {name for name, rule in made.items() if rule.remembers} == {"centered_clip"}
    assert make("fltrust", root_client=7).root == 7


@every_rule
def test_the_bits_are_the_same_for_any_number_of_threads(name: str) -> None:
    x = draw(12, size=60_000)
    threads = torch.get_num_threads()
    try:
        found = []
        for number in (1, 2, 3, 7):
            torch.set_num_threads(number)
            found.append(ruled(name, x))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(other, found[0]) for other in found)
