"""What an attack is: up to three functions, each for a place where a hostile client can act.

It can alter the examples that it trains on, alter what it sends, or agree with the other attackers of a
round on what all of them send. Who the attackers are is drawn once for a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nnray.data.splits import Examples
from nnray.federated.aggregation.aggregator import Updates, share_of
from nnray.federated.holdings import Alter
from nnray.federated.strategy import ClientUpdate, Message, Weighted
from nnray.seeding import numpy_rng

Lie = Callable[[Message, ClientUpdate], Message]
"""From what an honest client would send to what is sent."""
Collude = Callable[[Updates, int], Tensor]
"""From what the honest clients of a round sent, and the number of attackers, to what each of these sends."""
Trigger = Callable[[Tensor], Tensor]
"""From inputs ``[B, C, H, W]`` to the same with the mark of a backdoor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """What an attacker does; None: what an honest client does.

    Args:
        alter: To its examples.
        lie: To its message.
        collude: With the other attackers of a round; it knows what the honest clients sent.
        trigger: What makes a model with a backdoor say ``target``.
        target: The class that it then says.
    """

    alter: Alter | None = None
    lie: Lie | None = None
    collude: Collude | None = None
    trigger: Trigger | None = None
    target: int | None = None


def draw_attackers(
    num_clients: int, *, fraction: float, seed: int, honest: Sequence[int] = ()
) -> NDArray[np.bool_]:
    """Whether each client is an attacker, for a whole run.

    Args:
        num_clients: All there are.
        fraction: Of them that attack, rounded down.
        seed: Of the experiment.
        honest: Clients that never are, such as the root of a rule.
    """
    order = numpy_rng(seed, "attackers").permutation(num_clients)
    order = order[~np.isin(order, np.asarray(honest, dtype=np.int64))]
    found = np.zeros(num_clients, dtype=np.bool_)
    found[order[: share_of(num_clients, fraction)]] = True
    return found


def altered(message: Message, by: Callable[[str, Tensor], Tensor]) -> Message:
    """A message with other values of the same weights.

    Args:
        message: What an honest client would send.
        by: From the name of a vector and its value to another.
    """
    vectors = {name: Weighted(by(name, sent.value), sent.weight) for name, sent in message.vectors.items()}
    return replace(message, vectors=vectors)


def stamped(examples: Examples, attack: Attack) -> Examples:
    """The examples by which a backdoor is measured: accuracy on them is its success rate.

    Args:
        examples: Of the test split. Those that are of the target class anyway are left out.
        attack: With a trigger.
    """
    assert attack.trigger is not None and attack.target is not None, "an attack with a backdoor"
    others = examples.take((examples.targets != attack.target).nonzero()[:, 0])
    wanted = others.targets.new_full(others.targets.shape, attack.target)
    return Examples(attack.trigger(others.inputs), wanted)
