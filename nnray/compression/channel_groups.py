"""Which channels and units of a network must go together.

Where two layers' outputs are added, their channels are the same ones; where a map is flattened, a channel
becomes many features. A group is all layers that a set of channels touches: those that make it, those that
pass it on, those that take it in. Channels that the network's inputs or outputs are made of, or that go
through an operation that is not known, stay.

Source:
    Fang et al. 2023, "DepGraph: Towards Any Structural Pruning", section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import lcm


@dataclass(frozen=True, slots=True)
class Use:
    """One side of a layer that has the channels of a group.

    Args:
        layer: Its name in the network.
        side: ``outputs``, ``inputs`` or ``features``.
        offset: Where on that side the channels begin.
        repeat: How many numbers in a row are of one channel.
    """

    layer: str
    side: str
    offset: int = 0
    repeat: int = 1


@dataclass(slots=True, eq=False)
class Group:
    """Channels that stay or go together in all layers that have them.

    Args:
        size: How many channels.
        uses: All sides that have them.
        block: How many channels in a row must go together, for group norm.
        reason: Why they stay; empty where they may go.
    """

    size: int
    uses: list[Use] = field(default_factory=list)
    block: int = 1
    reason: str = ""
    merged: Group | None = None

    def root(self) -> Group:
        """The group that this one has become a part of, or itself."""
        group = self
        while group.merged is not None:
            group = group.merged
        return group


@dataclass(frozen=True, slots=True)
class Segment:
    """Some neighbours among the features of a value: all channels of a group, each ``repeat`` times."""

    group: Group
    repeat: int = 1

    @property
    def size(self) -> int:
        """How many features."""
        return self.group.size * self.repeat


Layout = Sequence[Segment]
"""What the features of a value (its dimension 1) are, from the first to the last."""


def same(one: Layout, other: Layout) -> None:
    """Make two layouts one: their channels are the same."""
    if [(s.size, s.repeat) for s in one] != [(s.size, s.repeat) for s in other]:
        keep((*one, *other), "combined with channels in another order")
        return
    for mine, theirs in zip(one, other, strict=True):
        _merge(mine.group.root(), theirs.group.root())


def keep(layout: Layout, reason: str) -> None:
    """Have all channels of a layout stay."""
    for segment in layout:
        root = segment.group.root()
        root.reason = root.reason or reason


def fixed(size: int, reason: str) -> Layout:
    """Channels that stay from the outset."""
    return (Segment(Group(size, reason=reason)),)


def use(layout: Layout, layer: str, *, side: str) -> None:
    """Say that a side of a layer has these features."""
    offset = 0
    for segment in layout:
        segment.group.root().uses.append(Use(layer, side, offset, segment.repeat))
        offset += segment.size


def _merge(one: Group, other: Group) -> None:
    if one is other:
        return
    one.uses += other.uses
    one.block = lcm(one.block, other.block)
    one.reason = one.reason or other.reason
    other.merged = one
