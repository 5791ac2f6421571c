"""Model soups: one network whose weights are the mean of several networks' weights.

Unlike an ensemble it costs no more than one member. It works where the members stand in one basin of the
loss: same architecture, same initialisation or same pre-trained weights.

Source:
    Wortsman et al., 2022: uniform soups, and greedy ones (algorithm 1). Statistics of batch norm are
    gathered anew afterwards, as for other averages of weights (Izmailov et al., 2018).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nnray.errors import IncompatibleModel

State = Mapping[str, Tensor]
_SHOWN = 10


def average(states: Sequence[State]) -> dict[str, Tensor]:
    """The mean of parameters and float buffers, summed in float64; integer buffers are the first's.

    Args:
        states: State dicts of one architecture.

    Raises:
        IncompatibleModel: They are of several; lists what differs.
    """
    assert states, "an average of nothing"
    require_same(states)
    return {name: _mean([state[name] for state in states]) for name in states[0]}


def require_same(states: Sequence[State], names: Sequence[str] = ()) -> None:
    """Check that all states have the same tensors of the same shapes.

    Args:
        states: At least one.
        names: What to call each in messages; by default the first, the second and so on.

    Raises:
        IncompatibleModel: They don't; lists what differs from the first.
    """
    called = names or [f"member {place}" for place in range(1, len(states) + 1)]
    found = [
        f"{name} {difference}"
        for name, state in zip(called[1:], states[1:], strict=True)
        for difference in _differences(states[0], state, first=called[0])
    ]
    if found:
        more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        advice = "A soup is of one architecture: leave those out, or combine by mean, vote or stack."
        raise IncompatibleModel("a model soup", [*found[:_SHOWN], *more], advice)


def greedy_soup(states: Sequence[State], score: Callable[[State], float]) -> tuple[list[int], list[float]]:
    """Take the members in order, each only if the soup with it is no worse.

    Args:
        states: The best member first.
        score: Of a state on validation data; higher is better.

    Returns:
        The members taken, by place; and the score of the soup after each member was tried, had it been taken.
    """
    taken, best, tried = [0], score(states[0]), list[float]()
    tried.append(best)
    for place in range(1, len(states)):
        value = score(average([states[i] for i in (*taken, place)]))
        tried.append(value)
        if value >= best:
            taken, best = [*taken, place], value
    return taken, tried


def has_batch_norm(module: nn.Module) -> bool:
    """Whether it keeps statistics of what it has seen, which an average of weights makes wrong."""
    return bool(_norms(module))


@torch.no_grad()
def refresh_batch_norm(module: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Gather the statistics of batch norm anew, each batch counting the same.

    Args:
        module: Changed in place; left in evaluation mode.
        batches: Of training examples, without augmentation, on the module's device.
    """
    norms, module = _norms(module), module.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    for inputs, _ in batches if norms else ():
        module(inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def cooked(module: nn.Module, state: State) -> nn.Module:
    """A copy of the module with these weights."""
    made = copy.deepcopy(module)
    made.load_state_dict(state, strict=True)
    return made.eval()


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    if not first.is_floating_point():
        return first.clone()
    total = torch.zeros_like(first, dtype=torch.float64)
    for tensor in tensors:
        total += tensor
    return (total / len(tensors)).to(first.dtype)


def _norms(module: nn.Module) -> list[_BatchNorm]:
    return [part for part in module.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]


def _differences(one: State, other: State, *, first: str) -> list[str]:
    found = [f"lacks {name} {list(one[name].shape)}" for name in one if name not in other]
    found += [f"has {name} {list(other[name].shape)} besides" for name in other if name not in one]
    return found + [
        f"has {name} {list(other[name].shape)}, {first} has {list(one[name].shape)}"
        for name in one
        if name in other and one[name].shape != other[name].shape
    ]
