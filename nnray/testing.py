"""Laws for code of your own: call these from a test of yours.

``check_strategy`` plays rounds of made-up clients with a strategy, and raises `BrokenLaw` at the first law
of federated strategies that it breaks. It trains nothing, and takes a fraction of a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from itertools import islice
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from nnray.errors import NnrayError
from nnray.federated.rehearsal import SIZE, SLOTS, made_updates, means_of, stages_of
from nnray.federated.strategy import ClientUpdate, Message, Pull, Strategy, Vectors, shared_part, traits
from nnray.seeding import torch_rng

__all__ = ["LAWS", "SLOTS", "BrokenLaw", "check_strategy", "means_of"]

_MOST_STAGES = 100
Make = Callable[[], Strategy]


class BrokenLaw(NnrayError, AssertionError):
    """A strategy that breaks a law.

    Args:
        strategy: Its name.
        law: The law.
        found: What was found instead.
    """

    def __init__(self, strategy: str, law: str, found: str) -> None:
        self.strategy, self.law, self.found = strategy, law, found
        super().__init__(strategy, law, found)

    def __str__(self) -> str:
        return f"strategy {self.strategy} breaks the law {self.law!r}: {self.found}"


def check_strategy(factory: Callable[..., Strategy], **options: Any) -> None:
    """Check that a strategy obeys the laws that the engine relies on.

    Args:
        factory: The function that an experiment names.
        options: Keys to call it with, such as ``mu=0.1``. A ``server_optimizer`` that is not given, where it
            takes one, is SGD with lr 1; the ``slots`` are those of the made-up model.

    Raises:
        BrokenLaw: It breaks one.
    """
    if "server_optimizer" in signature(factory).parameters:
        options = {"server_optimizer": partial(torch.optim.SGD, lr=1.0), **options}
    if "slots" in signature(factory).parameters:
        options = {"slots": SLOTS, **options}
    for law, check in LAWS.items():
        try:
            check(lambda: factory(**options))
        except _Found as found:
            raise BrokenLaw(getattr(factory, "__name__", repr(factory)), law, str(found)) from None


@dataclass(frozen=True, slots=True)
class _Standing:
    """Where a run stands: all that a checkpoint holds."""

    params: Tensor
    server: Vectors
    clients: Mapping[int, Vectors]


class _Found(Exception):
    """What was found against a law."""


def _require(holds: bool, found: str) -> None:
    if not holds:
        raise _Found(found)


def _begin(strategy: Strategy) -> _Standing:
    params = torch.randn(SIZE, generator=torch_rng(0, "weights"))
    return _Standing(params, strategy.server_state(params), {})


def _messages(strategy: Strategy, now: _Standing, updates: Sequence[ClientUpdate]) -> list[Message]:
    """What clients send; as in the engine, they know no more than the strategy says it needs."""
    sent, server = [], _shared(strategy, now.server)
    for update in updates:
        state = now.clients.get(update.client, {})
        known = update if strategy.needs_start_loss else replace(update, start_loss=math.nan)
        stages = stages_of(strategy, now.params, update=known, server=server, client=state)
        played = list(islice(stages, _MOST_STAGES + 1))
        _require(0 < len(played) <= _MOST_STAGES, f"{len(played)} stages, of 1 to {_MOST_STAGES}")
        for pull, _ in played:
            _require_pull(pull)
        sent.append(strategy.message(played[-1][1], server=server, client=state))
    return sent


def _shared(strategy: Strategy, server: Vectors) -> Vectors:
    names = traits(strategy).shared
    missing = set(names or ()) - set(server)
    _require(not missing, f"shared names {sorted(missing)}; the server keeps {sorted(server)}")
    return shared_part(strategy, server)


def _round(
    strategy: Strategy, now: _Standing, updates: Sequence[ClientUpdate], *, population: int
) -> _Standing:
    messages = _messages(strategy, now, updates)
    _require(
        all(sum(message.vectors[name].weight for message in messages) > 0.0 for name in messages[0].vectors),
        "the weights of all clients together are zero",
    )
    means = means_of(messages, population=population, collects=traits(strategy).collects)
    params, server = strategy.step(now.params, means, server=now.server)
    kept = {update.client: message.kept for update, message in zip(updates, messages, strict=True)}
    return _Standing(params, server, {**now.clients, **kept})


def _rounds(strategy: Strategy, *, num_rounds: int = 3, begin: _Standing | None = None) -> _Standing:
    """Rounds of a cohort that changes, out of 12 clients."""
    now = begin or _begin(strategy)
    for round_ in range(1, num_rounds + 1):
        cohort = [(5 * round_ + place) % 12 for place in range(6)]
        now = _round(strategy, now, made_updates(cohort, round_=round_), population=12)
    return now


def _check_types(make: Make) -> None:
    strategy = make()
    for name in ("server_state", "pull", "message", "step"):
        _require(callable(getattr(strategy, name, None)), f"it has no function {name}")
    for flag in ("needs_start_loss", "has_client_state"):
        value = getattr(strategy, flag, None)
        _require(isinstance(value, bool), f"{flag} is {value!r}, not True or False")
    now = _begin(strategy)
    for round_ in (1, 2):
        _require_state("the server", now.server)
        for update in made_updates(range(4), round_=round_):
            _require_message(_messages(strategy, now, [update])[0], strategy)
        now = _round(strategy, now, made_updates(range(4), round_=round_), population=4)
        _require_vector("the next weights", now.params, dtype=torch.float32)


def _require_vector(what: str, value: object, *, dtype: torch.dtype | None = None) -> None:
    _require(isinstance(value, Tensor), f"{what}: {type(value).__name__}, not a tensor")
    assert isinstance(value, Tensor)
    _require(tuple(value.shape) == (SIZE,), f"{what}: shape {list(value.shape)}, not [{SIZE}] as the weights")
    _require(dtype in (None, value.dtype), f"{what}: {value.dtype}, not {dtype}")
    _require(bool(torch.isfinite(value).all()), f"{what}: not finite")


def _require_state(whose: str, state: Vectors, *, whole: bool = True) -> None:
    for name, value in state.items():
        what = f"{name!r}, which {whose} keeps"
        _require(isinstance(value, Tensor), f"{what}: {type(value).__name__}, not a tensor")
        if value.ndim and whole:
            _require_vector(what, value, dtype=torch.float32)
        _require(value.numel() <= SIZE, f"{what}: {value.numel()} numbers, more than the {SIZE} weights")
        _require(bool(torch.isfinite(value).all()), f"{what}: not finite")


def _require_pull(pull: Pull) -> None:
    strength = pull.proximal
    _require(math.isfinite(strength) and strength >= 0, f"proximal is {strength}, not a number from 0 on")
    for name, vector in (("drift", pull.drift), ("start", pull.start), ("anchor", pull.anchor)):
        if vector is not None:
            _require_vector(f"the pull's {name}", vector, dtype=torch.float32)


def _require_message(message: Message, strategy: Strategy) -> None:
    for name, sent in message.vectors.items():
        _require_vector(f"{name!r}, which clients send", sent.value, dtype=torch.float32)
    for name, number in message.numbers.items():
        _require(math.isfinite(number.value), f"{name!r}, which clients send: {number.value}, not finite")
    weights = {name: sent.weight for name, sent in message.vectors.items()}
    weights |= {name: number.weight for name, number in message.numbers.items()}
    for name, weight in weights.items():
        _require(math.isfinite(weight) and weight >= 0.0, f"the weight of {name!r} is {weight}")
    _require_state("a client", message.kept, whole=False)
    keeps = strategy.has_client_state or not message.kept
    _require(keeps, f"clients keep {sorted(message.kept)}, but has_client_state is False")


def _check_fixed_point(make: Make) -> None:
    strategy = make()
    now = _begin(strategy)
    updates = [replace(update, delta=torch.zeros(SIZE)) for update in made_updates(range(5))]
    after = _round(strategy, now, updates, population=5)
    _require(torch.equal(after.params, now.params), f"weights moved by {_gap(after.params, now.params):g}")


def _check_order(make: Make) -> None:
    one, other = make(), make()
    ahead, back = _begin(one), _begin(other)
    for round_ in (1, 2, 3):
        updates = made_updates(range(8), round_=round_)
        ahead = _round(one, ahead, updates, population=8)
        back = _round(other, back, updates[::-1], population=8)
        _require_close(back.params, ahead.params, "with clients in reverse order weights differ")


def _check_identical(make: Make) -> None:
    many, single = make(), make()
    crowd, alone = _begin(many), _begin(single)
    for round_ in (1, 2, 3):
        update = made_updates([3], round_=round_)[0]
        crowd = _round(many, crowd, [replace(update, client=i) for i in range(7)], population=7)
        alone = _round(single, alone, [update], population=1)
        _require_close(
            crowd.params, alone.params, f"in round {round_} of 7 clients and of one, weights differ"
        )


def _check_resume(make: Make) -> None:
    strategy = make()
    there = _rounds(strategy)
    undisturbed = _rounds(strategy, begin=there)
    server, clients = _through_a_file(there.server), {i: _through_a_file(s) for i, s in there.clients.items()}
    resumed = _rounds(make(), begin=_Standing(there.params, server, clients))
    same = torch.equal(resumed.params, undisturbed.params)
    found = f"from its saved state another one goes on {_gap(resumed.params, undisturbed.params):g} elsewhere"
    _require(same, found)


def _through_a_file(state: Vectors) -> Vectors:
    return dict(load(save({name: value.contiguous() for name, value in state.items()})))


def _check_purity(make: Make) -> None:
    strategy = make()
    now = _rounds(strategy)
    update = made_updates([0], round_=4)[0]
    given = {"weights": now.params, "the change": update.delta}
    given |= {f"the server's {name}": value for name, value in now.server.items()}
    given |= {f"the client's {name}": value for name, value in now.clients[0].items()}
    before = {name: value.clone() for name, value in given.items()}
    sent = _messages(strategy, now, [update])
    means = means_of(sent, population=12, collects=traits(strategy).collects)
    given |= {f"the mean {name}": value for name, value in means.vectors.items()}
    before |= {f"the mean {name}": value.clone() for name, value in means.vectors.items()}
    first = strategy.step(now.params, means, server=now.server)[0].clone()
    changed = [name for name, value in given.items() if not torch.equal(value, before[name])]
    _require(not changed, f"changes in place what it was given: {', '.join(changed)}")
    again = means_of(_messages(strategy, now, [update]), population=12)
    same = all(torch.equal(again.vectors[name], value) for name, value in means.vectors.items())
    _require(
        same and again.numbers == means.numbers,
        "the same client again, as after a fault, sends another message",
    )
    second = strategy.step(now.params, means, server=now.server)[0]
    _require(torch.equal(first, second), f"the same step again is {_gap(first, second):g} elsewhere")


def _check_finite(make: Make) -> None:
    cases: dict[str, dict[str, Any]] = {
        "one client of 1,000,000": {"cohort": range(1), "population": 1_000_000},
        "1,000 clients": {"cohort": range(1_000), "population": 1_000},
        "changes of 1e-12": {"scale": 1e-12},
        "changes of 1e6": {"scale": 1e6},
        "losses of 0": {"loss": 0.0},
        "losses of 1e6": {"loss": 1e6},
    }
    for case, options in cases.items():
        _require_finite(make(), case, **options)


def _require_finite(
    strategy: Strategy, case: str, *, cohort: Sequence[int] = range(5), population: int = 5, **options: float
) -> None:
    now = _begin(strategy)
    for round_ in (1, 2):
        updates = made_updates(cohort, round_=round_, **options)
        now = _round(strategy, now, updates, population=population)
        _require(bool(torch.isfinite(now.params).all()), f"with {case}, weights are not finite")


def _require_close(value: Tensor, other: Tensor, found: str) -> None:
    close = torch.allclose(value, other, rtol=1e-5, atol=1e-6)
    _require(close, f"{found} by {_gap(value, other):g}")


def _gap(value: Tensor, other: Tensor) -> float:
    return float((value - other).abs().max())


LAWS: Mapping[str, Callable[[Make], None]] = {
    "shapes and types are those of the protocol": _check_types,
    "functions are pure": _check_purity,
    "changes of zero change nothing": _check_fixed_point,
    "saved state is all the state": _check_resume,
    "the order of clients doesn't matter": _check_order,
    "identical clients are as one": _check_identical,
    "weights stay finite": _check_finite,
}
"""What every strategy obeys, by name, in the order in which it is checked."""
