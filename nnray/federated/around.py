"""A strategy around another: how clipping, noise, robust rules, thin links and lies get into a round.

A round knows strategies only, so that whatever is put around one resumes as exactly, and depends as little on
who computes it, as the strategy itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nnray.federated.strategy import ClientUpdate, Means, Message, Pull, Strategy, Vectors


class Around:
    """A strategy that is the one inside it, but for what a subclass changes; its traits, too.

    Args:
        inner: The strategy inside.
    """

    def __init__(self, inner: Strategy) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        # Asked only for what this object lacks. Copying and unpickling ask before there is an inner one.
        if name == "inner" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def needs_start_loss(self) -> bool:
        """As the one inside."""
        return self.inner.needs_start_loss

    @property
    def has_client_state(self) -> bool:
        """As the one inside."""
        return self.inner.has_client_state

    def server_state(self, params: Tensor) -> Vectors:
        """As the one inside."""
        return self.inner.server_state(params)

    def pull(self, server: Vectors, client: Vectors) -> Pull:
        """As the one inside."""
        return self.inner.pull(server, client)

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        """As the one inside."""
        return self.inner.message(update, server=server, client=client)

    def step(self, params: Tensor, means: Means, *, server: Vectors) -> tuple[Tensor, Vectors]:
        """As the one inside."""
        return self.inner.step(params, means, server=server)


def own_part(state: Vectors, prefix: str) -> dict[str, Tensor]:
    """What stands in a state under ``prefix/``, by the names behind it."""
    start = f"{prefix}/"
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}


def other_part(state: Vectors, prefix: str) -> dict[str, Tensor]:
    """What stands in a state outside ``prefix/``."""
    return {name: value for name, value in state.items() if not name.startswith(f"{prefix}/")}


def joined(inner: Vectors, own: Mapping[str, Tensor], *, prefix: str) -> dict[str, Tensor]:
    """Both parts in one state again."""
    return {**inner, **{f"{prefix}/{name}": value for name, value in own.items()}}
