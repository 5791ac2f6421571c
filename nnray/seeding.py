"""Seeds come from what is computed, never from who computes it.

Every random draw in nnray names itself by a path, such as ``derive(seed, "epoch", 3)``. Two
draws share random numbers only when they share the path, whatever process runs them and
in whatever order.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


def derive(seed: int, *path: str | int) -> int:
    """Derive a 63-bit seed for the draw named by ``path``.

    Args:
        seed: The seed of the experiment.
        path: What is drawn; types are told apart, so ``1`` and ``"1"`` differ.
    """
    # NumPy's integers and strings have another repr, and must not be another path.
    plain = (str(part) if isinstance(part, str) else int(part) for part in path)
    text = repr((int(seed), *plain)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def numpy_rng(seed: int, *path: str | int) -> np.random.Generator:
    """A NumPy generator for the draw named by ``path``."""
    import numpy as np

    return np.random.default_rng(derive(seed, *path))


def torch_rng(seed: int, *path: str | int) -> torch.Generator:
    """A CPU torch generator for the draw named by ``path``."""
    import torch

    return torch.Generator().manual_seed(derive(seed, *path))


def seed_torch(seed: int, *path: str | int) -> None:
    """Seed torch's own generators, which dropout draws from, for the draw named by ``path``."""
    import torch

    torch.manual_seed(derive(seed, *path))


@contextmanager
def torch_seeded(seed: int, *path: str | int) -> Iterator[None]:
    """Seed torch's own generators inside the block, and put them back after it."""
    import torch

    if _has_cpu_only():  # 7 us, where asking every kind of device takes half a millisecond
        generator = torch.default_generator
        before = generator.get_state()
        generator.manual_seed(derive(seed, *path))
        try:
            yield
        finally:
            generator.set_state(before)
        return
    # All GPUs, by name: fork_rng warns where it finds several and is told of none.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(derive(seed, *path))
        yield


@functools.cache
def _has_cpu_only() -> bool:
    import torch

    return not torch.accelerator.is_available()
