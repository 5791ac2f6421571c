"""What clients keep, held by the driver and written down as it changes: never more than have taken part."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from safetensors.torch import load, save

from nnray.durable import write_bytes
from nnray.errors import CheckpointError
from nnray.federated.strategy import Vectors

Index = dict[int, tuple[int, str]]
"""By client: the round of the checkpoint that its file was written for, and the file's SHA-256."""


class ClientStates(Mapping[int, Vectors]):
    """What each client keeps that has taken part; one that has not is not there.

    A checkpoint writes the states that have changed since the one before, each to a file of its own, and
    holds the index of all of them.

    Args:
        folder: Of the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._states: dict[int, Vectors] = {}
        self._changed: set[int] = set()
        self._index: Index = {}

    def __getitem__(self, client: int) -> Vectors:
        return self._states[client]

    def __iter__(self) -> Iterator[int]:
        return iter(self._states)

    def __len__(self) -> int:
        return len(self._states)

    def take(self, kept: Mapping[int, Vectors]) -> None:
        """What clients keep from now on."""
        self._states |= kept
        self._changed |= kept.keys()

    def changed(self) -> dict[int, Vectors]:
        """What has changed since the last call."""
        found = {client: self._states[client] for client in sorted(self._changed)}
        self._changed = set()
        return found

    def save(self, changed: Mapping[int, Vectors], *, number: int) -> Index:
        """Write states down; called by one thread at a time.

        Args:
            changed: As from ``changed``.
            number: Of the round.

        Returns:
            Where all states are that were ever saved.
        """
        if changed:
            self._folder.mkdir(parents=True, exist_ok=True)
        for client, state in changed.items():
            data = save({name: tensor.contiguous() for name, tensor in state.items()})
            write_bytes(self._path(client, number), data)
            self._index[client] = number, hashlib.sha256(data).hexdigest()
        return dict(self._index)

    def load(self, index: Mapping[int, tuple[int, str]]) -> None:
        """Go back to what an index says.

        Raises:
            CheckpointError: A file is gone or altered.
        """
        self._index = {int(client): (int(number), str(digest)) for client, (number, digest) in index.items()}
        self._changed = set()
        self._states = {client: self._read(client, *entry) for client, entry in self._index.items()}

    def prune(self, indices: Iterable[Mapping[int, tuple[int, str]]]) -> None:
        """Remove files that no checkpoint needs any more."""
        needed = {
            self._path(int(client), number) for index in indices for client, (number, _) in index.items()
        }
        for path in self._folder.glob("*.safetensors") if self._folder.exists() else ():
            if path not in needed:
                path.unlink()

    def _read(self, client: int, number: int, digest: str) -> Vectors:
        path = self._path(client, number)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path}: unreadable: {error}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise CheckpointError(f"{path}: cut or altered")
        return load(data)

    def _path(self, client: int, number: int) -> Path:
        return self._folder / f"{client}-{number:06d}.safetensors"
