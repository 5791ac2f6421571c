"""Masked sums over a thin link: entries that no client sends need no masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from nnray.federated.codecs.compressed import Compressed
from nnray.federated.exact import Sums
from nnray.federated.outcome import BUFFERS
from nnray.federated.strategy import Strategy


class Thinning:
    """Cuts sums down to the entries that all clients send, and fills them up again.

    What privacy or an attacker adds to a vector after its way over the link is in all its entries: then
    nothing is cut.

    Args:
        strategy: With all that is around it.
        size: Of its vectors.
    """

    def __init__(self, strategy: Strategy, *, size: int) -> None:
        self._link: Compressed | None = None
        if isinstance(strategy, Compressed) and strategy.codec.shared_indices:
            self._link = strategy
        self._like = torch.empty(size)
        self._round, self._entries = 0, dict[str, Tensor]()

    def thin(self, sums: Sums, *, round_: int) -> Sums:
        """With the entries that are sent alone."""
        return self._changed(sums, round_, lambda total, entries: total[entries])

    def fill(self, sums: Sums, *, round_: int) -> Sums:
        """The inverse, for entries that are zero where they are not sent."""
        size = self._like.numel()
        return self._changed(
            sums, round_, lambda total, entries: total.new_zeros(size).index_copy(0, entries, total)
        )

    def _changed(self, sums: Sums, round_: int, change: Callable[[Tensor, Tensor], Tensor]) -> Sums:
        if self._link is None:
            return sums
        vectors = {
            name: value
            if name == BUFFERS  # the engine's own, which don't go over the link
            else replace(value, total=change(value.total, self._sent(name, round_).to(value.total.device)))
            for name, value in sums.vectors.items()
        }
        return replace(sums, vectors=vectors)

    def _sent(self, name: str, round_: int) -> Tensor:
        assert self._link is not None, "asked for where there is a link"
        if round_ != self._round:
            self._round, self._entries = round_, {}
        if name not in self._entries:
            self._entries[name] = self._link.entries(name, round_, like=self._like)
        return self._entries[name]
