"""What a compressor is: a trained network goes in, a smaller one and its recipe come out.

A compressor trains nothing and reads no labels. Fine-tuning after it, and the choice of how strong it is, are
the runner's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Compressed:
    """What a compressor came to.

    Args:
        module: The smaller network, sharing no memory with the one that went in.
        steps: What changed, as ``structure.apply`` replays it.
        notes: What a person should know, such as layers that were left as they are.
    """

    module: nn.Module
    steps: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = field(default=())


Compressor = Callable[[nn.Module, Tensor], Compressed]
"""``(module, inputs) -> Compressed``: inputs are some training examples without labels, to calibrate by."""
