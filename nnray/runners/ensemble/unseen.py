"""Which examples a member has learnt from: nothing is chosen, and nothing measured, on those.

Members with the same digest have the same training and validation examples. Others are compared example by
example. What stands in the first member's own training data as well is no leak: a data set may hold
an example twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal

from nnray.data.splits import Examples, Split
from nnray.runners.ensemble.members import Data, Member


def leaks(part: Literal["val", "test"], split: Split, *, members: Sequence[Member], data: Data) -> list[str]:
    """Which members know examples of a split of the first member's data.

    Args:
        part: Which split; for the test split, validation examples of others count as learnt from.
        split: It.
        members: The first one's data are measured on.
        data: Of all.

    Returns:
        In words, for each such member.
    """
    first = members[0]
    others = [member for member in members[1:] if not _has_same_data(member, first)]
    if not others:
        return []
    learnt = _learnt(first, part, data)
    if not isinstance(split, Examples) or learnt is None:
        return [
            f"{member.name} was trained on other examples, and streams can't be compared" for member in others
        ]
    asked = _keys(split) - learnt
    return list(_known(asked, others, part=part, data=data))


def _known(
    asked: set[bytes], others: Sequence[Member], *, part: Literal["val", "test"], data: Data
) -> Iterator[str]:
    for member in others:
        learnt = _learnt(member, part, data)
        if learnt is None:
            yield f"{member.name} was trained on a stream, which can't be compared"
        elif common := len(asked & learnt):
            yield f"{member.name} has learnt from {common} of its {len(asked)} examples"


def _has_same_data(member: Member, first: Member) -> bool:
    return bool(member.info.digest) and member.info.digest == first.info.digest


def _learnt(member: Member, part: Literal["val", "test"], data: Data) -> set[bytes] | None:
    """Keys of what a member has learnt from, or was chosen by; None where they stream."""
    splits = data.of_member(member)
    parts = [splits.train, *([splits.val] if part == "test" and splits.val is not None else [])]
    found = set[bytes]()
    for split in parts:
        if not isinstance(split, Examples):
            return None
        found |= _keys(split)
    return found


def _keys(examples: Examples) -> set[bytes]:
    rows = examples.inputs.contiguous().flatten(1).numpy()
    return {hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows}
