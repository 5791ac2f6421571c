"""Soups: an average of weights is exact, and is taken only where it means something."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from nnray.errors import IncompatibleModel
from nnray.models.layers import BatchNorm1d
from nnray.models.soup import average, cooked, greedy_soup, has_batch_norm, refresh_batch_norm, require_same
from nnray.seeding import torch_rng


def net(hidden: int = 4) -> nn.Module:
    return nn.Sequential(nn.Linear(3, hidden), BatchNorm1d(hidden), nn.Dropout(0.5), nn.Linear(hidden, 2))


def state(seed: int, hidden: int = 4) -> dict[str, Tensor]:
    rng = torch_rng(seed, "state")
    return {
        name: torch.randn(value.shape, generator=rng) if value.is_floating_point() else value + seed
        for name, value in net(hidden).state_dict().items()
    }


def points(values: Sequence[float]) -> list[dict[str, Tensor]]:
    return [{"w": torch.tensor([value])} for value in values]


@given(num=st.integers(1, 6), seed=st.integers(0, 99))
def test_an_average_is_the_mean_of_every_tensor(num: int, seed: int) -> None:
    states = [state(seed + i) for i in range(num)]
    made = average(states)
    for name, value in made.items():
        tensors = [s[name] for s in states]
        if value.is_floating_point():
            torch.testing.assert_close(value, torch.stack(tensors).mean(0))
        else:
            assert torch.equal(value, tensors[0])
        assert value.dtype == tensors[0].dtype


def test_an_average_of_one_is_itself_and_shares_no_memory() -> None:
    one = state(0)
    made = average([one])
    assert all(torch.equal(made[name], one[name]) for name in one)
    assert all(made[name].data_ptr() != one[name].data_ptr() for name in one)


def test_the_order_changes_no_bit() -> None:
    states = [state(seed) for seed in range(3)]
    there, back = average(states), average([states[0], states[2], states[1]])
    assert all(torch.equal(there[name], back[name]) for name in there)


def test_many_large_weights_lose_no_small_one() -> None:
    made = average(points([1e8, 1.0, -1e8]))
    assert made["w"].item() == pytest.approx(1 / 3)


def test_another_architecture_is_refused_with_all_that_differs() -> None:
    other = state(1, hidden=5)
    other["extra"] = torch.zeros(7)
    del other["3.bias"]
    with pytest.raises(IncompatibleModel) as caught:
        require_same([state(0), state(2), other], ["a", "b", "c"])
    text = str(caught.value)
    assert "c has 0.weight [5, 3], a has [4, 3]" in text
    assert "c has extra [7] besides" in text
    assert "c lacks 3.bias [2]" in text
    assert "\n  b " not in text
    assert "combine by mean, vote or stack" in text


def test_a_long_list_of_differences_is_cut() -> None:
    other = {f"layer{i}.weight": torch.zeros(1) for i in range(30)}
    with pytest.raises(IncompatibleModel, match=r"and \d+ more"):
        average([state(0), other])


def test_a_member_that_harms_is_left_out() -> None:
    states = points([1.0, 3.0, 100.0, 1.5])
    taken, tried = greedy_soup(states, lambda s: -abs(s["w"].item() - 2.0))
    assert taken == [0, 1]
    assert tried == pytest.approx([-1.0, 0.0, -(104 / 3 - 2), -(2.0 - 5.5 / 3)])


def test_a_member_that_changes_nothing_is_taken() -> None:
    assert greedy_soup(points([2.0, 2.0]), lambda s: -abs(s["w"].item()))[0] == [0, 1]


@given(values=st.lists(st.floats(-5, 5), min_size=1, max_size=6))
def test_a_greedy_soup_is_never_worse_than_its_first_member(values: list[float]) -> None:
    def score(s: object) -> float:
        assert isinstance(s, dict)
        return -abs(float(s["w"].item()))

    states = sorted(points(values), key=score, reverse=True)
    taken, tried = greedy_soup(states, score)
    assert score(average([states[i] for i in taken])) >= score(states[0])
    assert len(tried) == len(states)
    assert taken == sorted(set(taken))
    assert taken[0] == 0


def test_scores_that_are_not_numbers_take_nothing() -> None:
    assert greedy_soup(points([1.0, 2.0]), lambda s: 1.0 if s["w"].item() == 1.0 else float("nan"))[0] == [0]


def test_batch_norm_gets_the_statistics_of_the_whole() -> None:
    module = cooked(net(), state(3)).eval()
    examples = torch.randn(60, 3, generator=torch_rng(0, "examples")) * 4 + 2
    batches = [(part, torch.zeros(20)) for part in examples.split(20)]
    refresh_batch_norm(module, batches)
    hidden = module.get_submodule("0")(examples)
    norm = module.get_submodule("1")
    torch.testing.assert_close(norm.running_mean, hidden.mean(0))
    variances = torch.stack([part.var(0) for part in hidden.split(20)])
    torch.testing.assert_close(norm.running_var, variances.mean(0))
    assert norm.num_batches_tracked == 3


def test_refreshing_leaves_modes_momentum_and_weights_alone() -> None:
    module = cooked(net(), state(3))
    before = {name: value.clone() for name, value in module.named_parameters()}
    refresh_batch_norm(module, [(torch.randn(8, 3, generator=torch_rng(0, "x")), torch.zeros(8))])
    assert all(torch.equal(before[name], value) for name, value in module.named_parameters())
    assert not any(part.training for part in module.modules())
    assert module.get_submodule("1").momentum == 0.1


def test_dropout_does_not_disturb_the_statistics() -> None:
    batches = [(torch.randn(8, 3, generator=torch_rng(0, "x")), torch.zeros(8))]
    dropped = nn.Sequential(nn.Dropout(0.9), BatchNorm1d(3))
    plain = nn.Sequential(nn.Identity(), BatchNorm1d(3))
    for module in (dropped, plain):
        refresh_batch_norm(module, batches)
    assert all(torch.equal(dropped.state_dict()[n], v) for n, v in plain.state_dict().items())


def test_a_network_without_batch_norm_reads_nothing() -> None:
    def unread() -> object:
        raise AssertionError("read")
        yield

    module = nn.Sequential(nn.Linear(3, 2))
    assert not has_batch_norm(module)
    assert has_batch_norm(net())
    refresh_batch_norm(module, unread())  # type: ignore[arg-type]


def test_cooking_leaves_the_module_alone() -> None:
    module = net()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    made = cooked(module, state(5))
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert all(torch.equal(made.state_dict()[name], value) for name, value in state(5).items())
    assert not made.training


def test_a_soup_of_linear_models_is_their_ensemble_of_logits() -> None:
    members = [nn.Linear(3, 2) for _ in range(3)]
    soup = cooked(members[0], average([member.state_dict() for member in members]))
    examples = torch.randn(5, 3, generator=torch_rng(0, "x"))
    torch.testing.assert_close(soup(examples), torch.stack([m(examples) for m in members]).mean(0))
    pairs = list(combinations(members, 2))
    assert all(not torch.equal(a.weight, b.weight) for a, b in pairs)
