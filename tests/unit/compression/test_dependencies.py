"""Groups of channels, on networks small enough to know them by heart."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nnray.compression.channels import channels
from nnray.compression.dependencies import channel_groups
from nnray.errors import IncompatibleModel


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        made: Tensor = self.head(torch.flatten(x + self.inner(x), 1))
        return made


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 6, 1)
        self.head = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(torch.cat([self.left(x), self.right(x)], dim=1).mean([2, 3]))
        return made


class Twice(nn.Module):
    """One layer, called two times: what comes out of it goes into it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(self.again(torch.relu(self.again(torch.relu(self.first(x))))))
        return made


class Sorted(nn.Module):
    """An operation across channels that no rule here knows."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed, self.free, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(torch.relu(self.free(torch.sort(self.mixed(x), dim=1).values)))
        return made


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(x if x.sum() > 0 else -x)
        return made


def free(model: nn.Module, *shape: int) -> list[set[tuple[str, str, int, int]]]:
    groups = channel_groups(model, torch.rand(2, *shape))
    return [{(u.layer, u.side, u.offset, u.repeat) for u in g.uses} for g in groups if not g.reason]


def test_channels_that_are_added_are_one_group_and_a_map_is_many_features() -> None:
    assert free(Residual(), 3, 4, 4) == [
        {
            ("stem", "outputs", 0, 1),
            ("inner", "inputs", 0, 1),
            ("inner", "outputs", 0, 1),
            ("head", "inputs", 0, 16),
        }
    ]


def test_channels_side_by_side_are_groups_of_their_own_at_their_places() -> None:
    assert free(Joined(), 3, 4, 4) == [
        {("left", "outputs", 0, 1), ("head", "inputs", 0, 1)},
        {("right", "outputs", 0, 1), ("head", "inputs", 4, 1)},
    ]


def test_a_layer_that_is_called_twice_keeps_its_sides_equal() -> None:
    assert free(Twice(), 4) == [
        {
            ("first", "outputs", 0, 1),
            ("again", "inputs", 0, 1),
            ("again", "outputs", 0, 1),
            ("head", "inputs", 0, 1),
        }
    ]
    pruned = channels(share=0.5)(Twice(), torch.rand(8, 4)).module
    assert pruned.get_submodule("again").weight.shape == (4, 4)
    assert pruned(torch.rand(3, 4)).shape == (3, 2)


def test_channels_that_go_through_something_unknown_stay_and_it_is_said() -> None:
    assert free(Sorted(), 4) == [{("free", "outputs", 0, 1), ("head", "inputs", 0, 1)}]
    made = channels(share=0.5)(Sorted(), torch.rand(8, 4))
    assert made.steps[0]["layers"] == {"free": {"outputs": 4}, "head": {"inputs": 4}}
    assert made.notes == ["channels stay: mixed: they go through sort, which is not known here"]


def test_layers_that_share_their_weights_stay() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    model[2].weight = model[0].weight
    assert free(model, 4) == []


@pytest.mark.parametrize("model", [Branching(), nn.Linear(4, 2)], ids=["not traced", "nothing between"])
def test_what_can_not_be_is_refused_with_advice(model: nn.Module) -> None:
    with pytest.raises(IncompatibleModel, match=r"channels can't handle[\s\S]*magnitude"):
        channels(share=0.5)(model, torch.rand(4, 4))


def test_groups_of_a_norm_go_as_a_whole() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 8, 1), nn.GroupNorm(4, 8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4, 2)
    )
    pruned = channels(share=0.4)(model, torch.rand(8, 1, 2, 2)).module
    assert (pruned[1].num_groups, pruned[1].num_channels) == (3, 6)  # type: ignore[index]
    kept = [bool((model[0].weight == row).all((1, 2, 3)).any()) for row in pruned[0].weight]  # type: ignore[index]
    assert all(kept)


def test_the_channels_that_matter_least_go() -> None:
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        model[0].bias.fill_(3.0)
        model[2].weight[:, [1, 4]] = 0  # nobody reads them
        model[0].weight[2], model[0].bias[2] = 0, -1.0  # never active, however large its reader's weights
        model[2].weight[:, 2] = 100
    x = torch.rand(16, 3)
    pruned = channels(share=0.5)(model, x).module
    torch.testing.assert_close(pruned(x), model(x))
