"""Batches of texts that are about as long as each other, so that little of a batch is what fills up.

A pool of batches is sorted by length, cut into batches again, and all batches are shuffled: who stands beside
whom changes with each epoch, and every example still comes once.

Source:
    Khomenko et al., "Accelerating Recurrent Neural Network Training Using Sequence Bucketing and Multi-GPU
    Data Parallelization", 2016; here buckets are cut from sorted pools.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from nnray.data.splits import DataSplits, Examples
from nnray.errors import DataError


def text_lengths(ids_NT: Tensor) -> Tensor:
    """Places of each text up to its last token, ``[N]``, at least 1; id 0 fills up."""
    places_T = torch.arange(1, ids_NT.shape[1] + 1, device=ids_NT.device)
    return ((ids_NT != 0) * places_T).amax(1).clamp(min=1)


def bucketed(order: Tensor, lengths: Tensor, *, batch_size: int, pooled: int, rng: Generator) -> Tensor:
    """An order of the same examples, in which each batch has similar lengths.

    Args:
        order: A random order of all examples.
        lengths: Of every example.
        batch_size: Examples of a batch; the last ones of the order, too few for one, stay where they are, so
            that no length is always in the batch that is short.
        pooled: Batches that are sorted together.
        rng: Shuffles the batches.
    """
    even = len(order) // batch_size * batch_size
    pools = torch.split(order[:even], pooled * batch_size)
    # Stable, so that which of equal lengths comes first is the same on every machine.
    ranked = [pool[lengths[pool].argsort(stable=True)] for pool in pools]
    batches = torch.cat([*ranked, order[:0]]).view(-1, batch_size)
    batches = batches[torch.randperm(len(batches), generator=rng)]
    return torch.cat([batches.reshape(-1), order[even:]])


def require_texts(splits: DataSplits) -> None:
    """Check that there are lengths at all.

    Raises:
        DataError: The inputs are no tokens, are read anew each epoch, or each place has an answer of its own.
    """
    info = splits.info
    if info.vocabulary and info.targets == "class" and isinstance(splits.train, Examples):
        return
    found = f"{info.name} has {'tokens' if info.vocabulary else 'numbers'} with {info.targets} to tell"
    read = "" if isinstance(splits.train, Examples) else ", read anew each epoch"
    raise DataError(
        f"training.length_buckets: needs texts in memory with a class each, {found}{read}; remove it"
    )
