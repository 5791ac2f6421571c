"""Laws that every codec of the catalog obeys: what is lost is known, and what it takes is counted."""

from __future__ import annotations

import pickle
from importlib import import_module
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nnray.catalog import CATALOG
from nnray.errors import DataError
from nnray.federated.codecs.codec import Codec
from nnray.federated.codecs.compressed import Compressed
from nnray.federated.strategies.fedavg import fedavg
from nnray.federated.strategies.scaffold import scaffold
from nnray.federated.strategy import ClientUpdate, Vectors
from nnray.federated.weights import Slot
from nnray.registry import parameters, signature
from nnray.testing import LAWS, check_strategy

CODECS = sorted(CATALOG["codec"])
SHAPES = ((40, 25), (40,), (8, 4, 3, 3), (1,))
SLOTS = tuple(Slot(f"{place}", 2_000 * place, shape) for place, shape in enumerate(SHAPES))
SIZE = sum(slot.size for slot in SLOTS)
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in CODECS),
    ("top_k", {"share": 0.2}),
    ("top_k", {"share": 1.0}),
    ("random_k", {"share": 0.5, "correction": "scale"}),
    ("random_k", {"share": 0.1, "correction": "none"}),
    ("qsgd", {"levels": 1, "block": 5000}),
    ("qsgd", {"levels": 127, "block": 3}),
    ("int8", {"rounding": "nearest", "block": 7}),
    ("powersgd", {"rank": 1, "power_steps": 1}),
    ("powersgd", {"rank": 50}),
]
every_codec = pytest.mark.parametrize("name", CODECS)
every_case = pytest.mark.parametrize(("name", "options"), CASES)
ALL = ({"share": 1.0}, {"rank": 50})
"""With these nothing gets lost."""


def make(name: str, *, slots: tuple[Slot, ...] = SLOTS, **options: Any) -> Codec:
    module, _, function = CATALOG["codec"][name].partition(":")
    if "slots" in signature("codec", name).runtime:
        options["slots"] = slots
    made: Codec = getattr(import_module(module), function)(**options)
    return made


def vector(seed: int = 0, *, size: int = SIZE, scale: float = 1.0) -> Tensor:
    """Of entries that are unlike: some large, some small, some zero."""
    rng = torch.Generator().manual_seed(seed)
    values = torch.randn(size, generator=rng) * torch.rand(size, generator=rng).pow(3) * scale
    return torch.where(torch.rand(size, generator=rng) < 0.1, 0.0, values)


def through(codec: Codec, value: Tensor, *, seed: int = 0) -> Tensor:
    return codec.decode(codec.encode(value, seed=seed), value.numel(), seed=seed)


def is_unbiased(name: str, options: dict[str, Any]) -> bool:
    return name == "qsgd" or options.get("correction") == "scale" or (name == "int8" and not options)


@every_case
def test_a_vector_arrives_as_one_of_the_same_shape_and_type(name: str, options: dict[str, Any]) -> None:
    codec = make(name, **options)
    arrived = through(codec, vector())
    assert (arrived.shape, arrived.dtype) == ((SIZE,), torch.float32)
    assert bool(torch.isfinite(arrived).all())
    assert float((arrived * vector()).sum()) > 0


@every_codec
def test_what_is_sent_takes_a_third_of_the_vector_at_most(name: str) -> None:
    data = make(name).encode(vector(), seed=0)
    assert isinstance(data, bytes)
    assert len(data) < 4 * SIZE / 3


@every_codec
def test_a_seed_and_a_vector_are_always_the_same_bytes(name: str) -> None:
    one, other = make(name), pickle.loads(pickle.dumps(make(name)))
    state = torch.get_rng_state()
    assert one.encode(vector(), seed=5) == other.encode(vector(), seed=5)
    assert torch.equal(torch.get_rng_state(), state), "it draws from the generator that all share"


@pytest.mark.parametrize("name", ["random_k", "qsgd", "int8", "powersgd"])
def test_another_seed_draws_something_else(name: str) -> None:
    codec = make(name)
    assert codec.encode(vector(), seed=5) != codec.encode(vector(), seed=6)


@every_case
def test_zeros_stay_zeros(name: str, options: dict[str, Any]) -> None:
    assert through(make(name, **options), torch.zeros(SIZE)).abs().max() == 0.0


@every_case
@pytest.mark.parametrize("size", [0, 1, 2])
def test_vectors_of_next_to_nothing(name: str, options: dict[str, Any], size: int) -> None:
    codec = make(name, slots=(), **options)
    arrived = through(codec, torch.full((size,), -2.0))
    assert arrived.shape == (size,)
    assert not (arrived > 0).any()


@every_codec
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused_by_name(name: str, bad: float) -> None:
    value = vector()
    value[7] = bad
    with pytest.raises(DataError, match=r"1 entries that are not finite.*entry 7 is"):
        make(name).encode(value, seed=0)


@every_codec
@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e30])
def test_very_small_and_very_large_updates_arrive(name: str, scale: float) -> None:
    value = vector(scale=scale)
    arrived = through(make(name), value)
    assert bool(torch.isfinite(arrived).all())
    assert float(arrived.double().norm()) <= 30 * float(value.double().norm())


@every_codec
def test_bytes_that_were_cut_are_refused(name: str) -> None:
    codec = make(name)
    data = codec.encode(vector(), seed=0)
    for wrong in (data[:-1], data + b"\0", b""):
        with pytest.raises(DataError, match="bytes was expected"):
            codec.decode(wrong, SIZE, seed=0)


@pytest.mark.parametrize(("name", "options"), [case for case in CASES if not is_unbiased(*case)])
def test_what_has_gone_through_goes_through_again(name: str, options: dict[str, Any]) -> None:
    codec = make(name, **options)
    once = through(codec, vector())
    torch.testing.assert_close(through(codec, once), once, rtol=1e-6, atol=2e-5)


@every_case
def test_the_mean_of_many_draws_is_the_vector_unless_there_is_feedback(
    name: str, options: dict[str, Any]
) -> None:
    codec, value, draws = make(name, **options), vector(), 400
    arrived = torch.stack([through(codec, value, seed=seed).double() for seed in range(draws)])
    error = (arrived.mean(0) - value).norm() / value.norm()
    spread = arrived.std(0).norm() / value.norm() / draws**0.5
    assert codec.error_feedback == (not is_unbiased(name, options) and options.get("correction") != "none")
    if is_unbiased(name, options):
        assert error < 1.2 * spread
    elif options not in ALL:
        assert error > 1.5 * spread


@every_case
def test_what_is_said_to_contract_is_never_longer_afterwards(name: str, options: dict[str, Any]) -> None:
    codec = make(name, **options)
    ratios = [float(through(codec, vector(s), seed=s).norm() / vector(s).norm()) for s in range(20)]
    assert (max(ratios) <= 1 + 1e-6) == codec.contracts or options == {"share": 1.0}


@pytest.mark.parametrize("name", [name for name in CODECS if make(name).shared_indices])
def test_where_indices_are_shared_sums_can_be_decoded_in_place_of_vectors(name: str) -> None:
    codec = make(name)
    one, other = vector(1), vector(2)
    arrived = through(codec, one, seed=3) + through(codec, other, seed=3)
    torch.testing.assert_close(through(codec, one + other, seed=3), arrived)


@every_case
def test_with_feedback_nothing_is_lost_for_good(name: str, options: dict[str, Any]) -> None:
    strategy = Compressed(fedavg(), make(name, **options), slots=_dense_slots(), seed=1)
    state: Vectors = {}
    raw, arrived = torch.zeros(SIZE).double(), torch.zeros(SIZE).double()
    for round_ in range(1, 12):
        update = _update(vector(round_), round_=round_)
        message = strategy.message(update, server={}, client=state)
        raw, arrived = raw + update.delta, arrived + message.vectors["delta"].value
        state = message.kept
    assert set(state) == ({"residual/delta"} if strategy.has_client_state else set())
    if strategy.has_client_state:
        torch.testing.assert_close(arrived + state["residual/delta"], raw, rtol=0, atol=3e-6)


@given(seed=st.integers(0, 2**31), size=st.integers(1, 300), exponent=st.integers(-20, 20))
@every_codec
def test_the_residual_is_what_was_not_sent(name: str, seed: int, size: int, exponent: int) -> None:
    strategy = Compressed(fedavg(), make(name, slots=()), seed=seed)
    value, before = vector(seed, size=size, scale=10.0**exponent), vector(seed + 1, size=size)
    keeps = strategy.has_client_state
    client = {"residual/delta": before} if keeps else {}
    message = strategy.message(_update(value), server={}, client=client)
    if keeps:
        sent, left = message.vectors["delta"].value, message.kept["residual/delta"]
        assert torch.equal(left, (value + before) - sent)


@every_codec
def test_a_strategy_around_it_obeys_the_laws_of_strategies(name: str) -> None:
    for law, check in LAWS.items():
        if law != "identical clients are as one":  # each draws for itself
            check(lambda: Compressed(scaffold(), make(name, slots=()), seed=3))


@pytest.mark.parametrize("name", ["top_k", "random_k", "signsgd"])
def test_identical_clients_are_as_one_where_they_draw_alike(name: str) -> None:
    check_strategy(lambda: Compressed(fedavg(), make(name, slots=()), seed=3))


@every_codec
def test_its_keys_have_defaults_and_texts(name: str) -> None:
    for key, parameter in parameters("codec", name).items():
        assert not parameter.required, key
        assert parameter.help.endswith("."), key


def _dense_slots() -> tuple[Slot, ...]:
    starts = [sum(slot.size for slot in SLOTS[:place]) for place in range(len(SLOTS))]
    return tuple(Slot(slot.name, start, slot.shape) for slot, start in zip(SLOTS, starts, strict=True))


def _update(delta: Tensor, *, round_: int = 1) -> ClientUpdate:
    return ClientUpdate(4, 8, 2, 0.1, 0.0, delta, 1.0, float("nan"), round_)
