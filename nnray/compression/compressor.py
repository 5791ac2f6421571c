"""What a compressor is: a trained network goes in, a smaller one and its recipe come out.

A compressor trains nothing and reads no labels. Fine-tuning after it, and the choice of how strong it is, are
the runner's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from nnray.tasks.task import Task
from nnray.training.step import LossFn


@dataclass(frozen=True, slots=True)
class Compressed:
    """What a compressor came to.

    Args:
        module: The smaller network, sharing no memory with the one that went in.
        steps: What changed, as ``structure.apply`` replays it.
        notes: What a person should know, such as layers that were left as they are.
        loss_of: What to train it by from here on: of the network that all began with, and the task; None for
            the experiment's own loss.
    """

    module: nn.Module
    steps: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()
    loss_of: Callable[[nn.Module, Task], LossFn] | None = None


Compressor = Callable[[nn.Module, Tensor], Compressed]
"""``(module, inputs) -> Compressed``: inputs are some training examples without labels, to calibrate by."""
