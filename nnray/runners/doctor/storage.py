"""Whether a storage can be written, and who sees what is written there."""

from __future__ import annotations

from collections.abc import Sequence

from nnray.runners.doctor.finding import Finding
from nnray.runners.doctor.node import read_token, remove, write_token

_NAME = ".nnray-doctor"


def examine_storage(storage: str) -> Finding:
    """Write to a storage from this machine, and read it back.

    Args:
        storage: A URI, or a folder.
    """
    wrong = []
    try:
        token = write_token(storage, _NAME)
        if read_token(storage, _NAME) != token:
            wrong.append("what is read is not what was written")
        remove(storage, [_NAME])
    except Exception as error:  # noqa: BLE001 (each file system has errors of its own)
        wrong.append(str(error).splitlines()[0])
    return storage_told(storage, wrong, nodes=1)


def storage_told(storage: str, wrong: Sequence[str], *, nodes: int) -> Finding:
    """What to say of a storage."""
    if wrong:
        advice = "mount it, or name one that all nodes reach, with the rights to write"
        return Finding("storage", "problem", f"{storage}: {'; '.join(wrong)}: {advice}")
    return Finding("storage", "ok", f"{storage}: written and read by {nodes} node{'s' if nodes > 1 else ''}")
