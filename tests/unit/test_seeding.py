"""Draws that share a path share their numbers; draws that don't share nothing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nnray.seeding import derive, numpy_rng, seed_torch, torch_rng, torch_seeded

SEEDS = st.integers(-(2**70), 2**70)
PATHS = st.lists(st.text(max_size=6) | st.integers(-99, 99), max_size=4).map(tuple)


@given(seed=SEEDS, path=PATHS)
def test_a_derived_seed_is_one_that_torch_and_numpy_take(seed: int, path: tuple[str | int, ...]) -> None:
    value = derive(seed, *path)
    assert 0 <= value < 2**63
    assert value == derive(seed, *path)


@given(one=st.tuples(SEEDS, PATHS), two=st.tuples(SEEDS, PATHS))
def test_other_paths_give_other_seeds(
    one: tuple[int, tuple[str | int, ...]], two: tuple[int, tuple[str | int, ...]]
) -> None:
    assert (derive(one[0], *one[1]) == derive(two[0], *two[1])) == (repr(one) == repr(two))


@pytest.mark.parametrize(
    ("one", "two"), [((1,), ("1",)), (("a", "b"), ("ab",)), (("a",), ("a", 0)), ((), ("",)), ((1, 2), (12,))]
)
def test_types_and_bounds_of_a_path_are_told_apart(
    one: tuple[str | int, ...], two: tuple[str | int, ...]
) -> None:
    assert derive(0, *one) != derive(0, *two)


def test_seeds_are_those_of_earlier_versions() -> None:
    """A change here would change every recorded run."""
    assert derive(0) == 7210762507766007076
    assert derive(7, "epoch", 3) == 1817496201054852237


def test_numpy_s_integers_and_strings_count_as_python_s() -> None:
    assert derive(np.int64(3), np.int32(4), np.str_("a")) == derive(3, 4, "a")  # type: ignore[arg-type]


def test_seeds_don_t_depend_on_the_process() -> None:
    script = "from nnray.seeding import derive; print(derive(3, 'client', 8))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) == derive(3, "client", 8)


def test_importing_it_imports_neither_torch_nor_numpy() -> None:
    script = "import sys, nnray.seeding; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_generators_draw_by_their_path() -> None:
    assert torch.equal(torch.rand(4, generator=torch_rng(1, "a")), torch.rand(4, generator=torch_rng(1, "a")))
    assert not torch.equal(
        torch.rand(4, generator=torch_rng(1, "a")), torch.rand(4, generator=torch_rng(1, "b"))
    )
    assert (numpy_rng(1, "a").random(4) == numpy_rng(1, "a").random(4)).all()
    assert (numpy_rng(1, "a").random(4) != numpy_rng(2, "a").random(4)).any()


def test_the_generators_leave_the_global_ones_alone() -> None:
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1]
    torch.rand(3, generator=torch_rng(1, "a"))
    numpy_rng(1, "a").random(3)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == before_numpy).all()


def test_a_block_is_seeded_and_the_state_comes_back_also_after_an_error() -> None:
    before = torch.get_rng_state()
    with torch_seeded(1, "block"):
        first = torch.rand(4)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(RuntimeError), torch_seeded(1, "block"):
        torch.rand(-1)
    assert torch.equal(torch.get_rng_state(), before)
    with torch_seeded(1, "block"):
        assert torch.equal(torch.rand(4), first)


def test_seeding_torch_is_the_same_as_the_block() -> None:
    with torch_seeded(5, "x"):
        inside = torch.rand(4)
    with torch.random.fork_rng():
        seed_torch(5, "x")
        assert torch.equal(torch.rand(4), inside)
