"""A strategy whose clients are on a thin link: what they send is encoded, and decoded again.

What arrives is summed as ever. The bytes told of a message are those of the encoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nnray.errors import DataError
from nnray.federated.around import Around, joined, other_part, own_part
from nnray.federated.codecs.codec import Codec
from nnray.federated.strategy import ClientUpdate, Message, Pull, Strategy, Vectors
from nnray.federated.weights import Slot
from nnray.seeding import derive

_PREFIX = "residual"
"""Of what a client keeps: what got lost of each vector, to be added to the next."""


class Compressed(Around):
    """A strategy whose vectors go through a codec.

    Args:
        inner: Says what is sent.
        codec: How.
        slots: Where the model's tensors stand in vectors: what is between them is not sent. None: no gaps.
        seed: Of the experiment.

    Source:
        Error feedback: Stich et al. 2018, algorithm 1, with the client's whole change for the gradient.
    """

    def __init__(self, inner: Strategy, codec: Codec, *, slots: Sequence[Slot] = (), seed: int = 0) -> None:
        super().__init__(inner)
        self.codec, self._slots, self._seed = codec, tuple(slots), seed

    @property
    def has_client_state(self) -> bool:
        """Clients keep what got lost, where the codec asks for it."""
        return self.inner.has_client_state or self.codec.error_feedback

    def pull(self, server: Vectors, client: Vectors) -> Pull:
        """As the one inside."""
        return self.inner.pull(server, other_part(client, _PREFIX))

    def message(self, update: ClientUpdate, *, server: Vectors, client: Vectors) -> Message:
        """What arrives of the message of the one inside."""
        message = self.inner.message(update, server=server, client=other_part(client, _PREFIX))
        before, left = own_part(client, _PREFIX), dict[str, Tensor]()
        vectors, num_bytes = {}, 8 * len(message.numbers)
        for name, sent in message.vectors.items():
            raw = sent.value + before[name] if name in before else sent.value
            arrived, count = self._over_link(raw, name, self.seed_of(update.round, update.client, name=name))
            vectors[name], num_bytes = replace(sent, value=arrived), num_bytes + count
            if self.codec.error_feedback:
                left[name] = raw - arrived
        kept = joined(message.kept, left, prefix=_PREFIX)
        return replace(message, vectors=vectors, kept=kept, num_bytes=num_bytes)

    def seed_of(self, round_: int, client: int, *, name: str) -> int:
        """Of the draws for a vector; the same for all clients where they send the same entries."""
        who = () if self.codec.shared_indices else (client,)
        return derive(self._seed, "codec", round_, *who, name)

    def entries(self, name: str, round_: int, *, like: Tensor) -> Tensor:
        """Which entries of a vector arrive in a round, ascending, where they are the same of all clients.

        Args:
            name: Of the vector.
            round_: Number of the round.
            like: A vector of its size.
        """
        assert self.codec.shared_indices, "each client sends entries of its own"
        arrived, _ = self._over_link(torch.ones_like(like), name, self.seed_of(round_, 0, name=name))
        return arrived.nonzero().flatten()

    def _over_link(self, vector: Tensor, name: str, seed: int) -> tuple[Tensor, int]:
        """What arrives, and the bytes that it took."""
        dense = _dense(vector, self._slots)
        try:
            data = self.codec.encode(dense, seed=seed)
        except DataError as error:
            raise DataError(f"its {name!r}: {error}") from None
        arrived = self.codec.decode(data, dense.numel(), seed=seed).to(vector.device)
        return _spread(arrived, self._slots, like=vector), len(data)


def _dense(vector: Tensor, slots: Sequence[Slot]) -> Tensor:
    """The tensors one after another."""
    return torch.cat([slot.of(vector).flatten() for slot in slots]) if slots else vector


def _spread(dense: Tensor, slots: Sequence[Slot], *, like: Tensor) -> Tensor:
    """The tensors at their places, zeros between them."""
    if not slots:
        return dense
    vector = torch.zeros_like(like)
    for slot, part in zip(slots, torch.split(dense, [slot.size for slot in slots]), strict=True):
        slot.of(vector).copy_(part.view(slot.shape))
    return vector
