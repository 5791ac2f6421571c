"""In which order a streamed set is read: decided by seed and epoch, whoever reads and however many.

The shards are permuted and laid end to end, and the line is cut into lanes of equal length. Lanes
advance together, and every batch takes its share from each: so a batch mixes far-off shards,
and a worker that owns some of the lanes reads nothing else.
"""

from __future__ import annotations

import numpy as np

from nnray.data.stream import Integers, Pieces


def lane_sizes(num_examples: int, num_lanes: int) -> Integers:
    """Examples in each lane, as equal as can be, the longer ones first."""
    share, over = divmod(num_examples, num_lanes)
    return share + (np.arange(num_lanes) < over).astype(np.int64)


def lane_shares(batch: int, *, batch_size: int, num_examples: int, num_lanes: int) -> Integers:
    """How many examples a batch takes from each lane.

    Example i of an epoch is of lane i modulo the number of lanes, so all lanes end together.
    """
    begin, end = batch * batch_size, min((batch + 1) * batch_size, num_examples)
    lane = np.arange(num_lanes)
    upto_end, upto_begin = ((last - lane + num_lanes - 1) // num_lanes for last in (end, begin))
    shares: Integers = (upto_end - upto_begin).astype(np.int64)
    return shares


def plan(counts: Integers, *, num_lanes: int, rng: np.random.Generator | None = None) -> Pieces:
    """Cut a set into pieces, in the order in which they are needed.

    Args:
        counts: Examples in each shard.
        num_lanes: Lanes, which are needed at an equal pace.
        rng: Permutes the shards; None leaves them in order.
    """
    shards = np.flatnonzero(counts)
    if rng is not None:
        shards = rng.permutation(shards)
    ends = np.cumsum(counts[shards], dtype=np.int64)
    begins = ends - counts[shards]
    lane_ends = np.cumsum(lane_sizes(int(counts.sum()), num_lanes))
    lane_begins = np.concatenate([[0], lane_ends[:-1]])
    cuts = np.union1d(begins, lane_begins[lane_begins < lane_ends])
    stops = np.append(cuts[1:], ends[-1:])
    shard, lane = np.searchsorted(ends, cuts, "right"), np.searchsorted(lane_ends, cuts, "right")
    pieces = np.stack([lane, shards[shard], cuts - begins[shard], stops - begins[shard]], axis=1)
    return pieces[np.lexsort((lane, cuts - lane_begins[lane]))].astype(np.int64)


def own_lanes(num_lanes: int, *, rank: int, size: int) -> range:
    """The lanes of one of ``size`` workers: neighbours, so that its part of a batch is in one piece."""
    return range(num_lanes * rank // size, num_lanes * (rank + 1) // size)
