"""One forward pass at a time, for whoever waits: requests that come meanwhile share the next one.

So load makes batches, and a lone request waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

_Waiting = tuple[Tensor, "asyncio.Future[Tensor]"]


class Engine:
    """A model for concurrent requests of one event loop.

    Args:
        module: In evaluation mode; takes plain inputs, gives logits.
        batch_size: Examples of a forward pass at most: small requests are joined up to it, large ones cut.
        threads: Of a forward pass; None for torch's own choice.
    """

    def __init__(
        self, module: Callable[[Tensor], Tensor], *, batch_size: int = 64, threads: int | None = None
    ) -> None:
        self._module, self._batch_size = module, batch_size
        self._waiting: deque[_Waiting] = deque()
        self._worker: asyncio.Task[None] | None = None
        # torch counts threads by thread: the one that computes has to say.
        begin = None if threads is None else (lambda: torch.set_num_threads(threads))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="nnray-serve", initializer=begin)

    async def predict(self, inputs: Tensor) -> Tensor:
        """The logits of some examples, ``[B, ...]`` to ``[B, K]``."""
        future: asyncio.Future[Tensor] = asyncio.get_running_loop().create_future()
        self._waiting.append((inputs, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    def warm_up(self, inputs: Tensor) -> None:
        """Run once before the first request, which would pay for what torch does once."""
        self._thread.submit(self._forward, inputs).result()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            group = self._take()
            joined = torch.cat([inputs for inputs, _ in group])
            try:
                outputs = await loop.run_in_executor(self._thread, self._forward, joined)
            except Exception as error:  # noqa: BLE001 (whoever waits is told, and the next group is served)
                _settle(group, error)
            else:
                _settle(group, outputs)

    def _take(self) -> list[_Waiting]:
        """Requests from the front, as many as fit into one batch; one at least."""
        group = [self._waiting.popleft()]
        size = len(group[0][0])
        while self._waiting and size + len(self._waiting[0][0]) <= self._batch_size:
            group.append(self._waiting.popleft())
            size += len(group[-1][0])
        return group

    def _forward(self, inputs: Tensor) -> Tensor:
        with torch.inference_mode():
            return torch.cat([self._module(batch) for batch in torch.split(inputs, self._batch_size)])


def _settle(group: list[_Waiting], outcome: Tensor | Exception) -> None:
    """Give each request its part, or the error; one that was given up is passed over."""
    start = 0
    for inputs, future in group:
        end = start + len(inputs)
        if not future.done():
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome[start:end])
        start = end
