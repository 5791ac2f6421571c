"""Which worker trains which client: the costliest first, each to who has least to do so far.

The longest schedule is at most 4/3 - 1/(3 m) times the shortest possible one on m workers.

Source: Graham, "Bounds on multiprocessing timing anomalies", 1969, theorem 2.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def assign(clients: Sequence[int], costs: Sequence[float], *, num_workers: int) -> list[list[int]]:
    """Share clients out among workers so that all are done at about the same time.

    Args:
        clients: Their numbers, all different.
        costs: What each is expected to cost, such as seconds.
        num_workers: Some get no client if there are fewer clients than workers.

    Returns:
        The clients of each worker, ascending; the same for any order of ``clients``.
    """
    assert len(clients) == len(costs), (len(clients), len(costs))
    assert num_workers > 0, num_workers
    loads = [(0.0, worker) for worker in range(num_workers)]
    placed: list[list[int]] = [[] for _ in range(num_workers)]
    for cost, client in sorted(zip(costs, clients, strict=True), key=lambda pair: (-pair[0], pair[1])):
        load, worker = loads[0]
        heapq.heapreplace(loads, (load + cost, worker))
        placed[worker].append(int(client))
    return [sorted(own) for own in placed]
