"""Requests that share a forward pass get what they would have got alone."""

from __future__ import annotations

import asyncio
import threading

import pytest
import torch
from torch import Tensor, nn

from nnray.runners.serving.engine import Engine


class _Seen(nn.Module):
    """Doubles its inputs, notes the batches, and waits in the first for the others to come."""

    def __init__(self, *, holds: bool = False) -> None:
        super().__init__()
        self.sizes: list[int] = []
        self.threads: list[int] = []
        self.go = threading.Event()
        if not holds:
            self.go.set()

    def forward(self, inputs: Tensor) -> Tensor:
        assert self.go.wait(60)
        self.sizes.append(len(inputs))
        self.threads.append(torch.get_num_threads())
        if bool((inputs == 13).any()):
            raise ValueError("13")
        return inputs * 2


def _inputs(*sizes: int) -> list[Tensor]:
    return [torch.full((size, 2), float(index)) for index, size in enumerate(sizes)]


async def _all(engine: Engine, module: _Seen, parts: list[Tensor]) -> list[Tensor | BaseException]:
    tasks = [asyncio.create_task(engine.predict(part)) for part in parts]
    await asyncio.sleep(0)  # each has joined the queue
    module.go.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_waiting_requests_share_a_pass_and_each_gets_its_own() -> None:
    module, parts = _Seen(holds=True), _inputs(1, 2, 3, 1)
    given = asyncio.run(_all(Engine(module, batch_size=64), module, parts))
    assert sum(module.sizes) == 7 and len(module.sizes) <= 2
    for part, outputs in zip(parts, given, strict=True):
        assert isinstance(outputs, Tensor) and torch.equal(outputs, part * 2)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_no_pass_is_larger_than_it_may_be(batch_size: int) -> None:
    module, parts = _Seen(holds=True), _inputs(1, 5, 2, 1, 1)
    given = asyncio.run(_all(Engine(module, batch_size=batch_size), module, parts))
    assert max(module.sizes) <= batch_size
    for part, outputs in zip(parts, given, strict=True):
        assert isinstance(outputs, Tensor) and torch.equal(outputs, part * 2)


def test_a_failed_pass_is_told_to_who_was_in_it_and_the_next_goes_on() -> None:
    module = _Seen()
    engine = Engine(module)

    async def twice() -> Tensor:
        with pytest.raises(ValueError, match="13"):
            await engine.predict(torch.full((1, 2), 13.0))
        return await engine.predict(torch.ones(1, 2))

    assert torch.equal(asyncio.run(twice()), torch.full((1, 2), 2.0))


def test_a_request_that_is_given_up_disturbs_no_other() -> None:
    module = _Seen(holds=True)
    engine = Engine(module)

    async def one_gives_up() -> Tensor:
        first, second = (asyncio.create_task(engine.predict(torch.ones(1, 2) * n)) for n in (1, 2))
        await asyncio.sleep(0)
        first.cancel()
        module.go.set()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await second

    assert torch.equal(asyncio.run(one_gives_up()), torch.full((1, 2), 4.0))


def test_the_pass_runs_with_the_threads_asked_for() -> None:
    module = _Seen()
    Engine(module, threads=2).warm_up(torch.zeros(1, 2))
    Engine(module, threads=1).warm_up(torch.zeros(1, 2))
    assert module.threads == [2, 1]


def test_nothing_is_kept_for_gradients() -> None:
    linear = nn.Linear(2, 2)
    outputs = asyncio.run(Engine(linear).predict(torch.ones(3, 2)))
    assert not outputs.requires_grad
    assert torch.allclose(outputs, linear(torch.ones(3, 2)))
