"""Prediction over a Ray cluster: the pieces go out in order, and the answers come back in it.

What is sent are paths, numbers and the bytes of a file of weights: no module and no function of a user's is
pickled. Workers read the files where they are, so on several machines they need a storage that all share.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from safetensors.torch import save

from nnray.data.input_pieces import Piece, Portion, Unreadable
from nnray.data.inputs import Inputs, Tally
from nnray.errors import ClusterError, NnrayError
from nnray.runners.cluster import Cluster, Resources
from nnray.runners.prediction.answers import Array
from nnray.runners.prediction.table import CONVERTED
from nnray.runners.ray_data import in_order, raised_below
from nnray.runners.subject import Subject

if TYPE_CHECKING:
    from ray.data import Dataset

_AHEAD_BYTES = 64 << 20


def outputs_of(subject: Subject, inputs: Inputs, *, batch_size: int) -> Iterator[tuple[list[str], Array]]:
    """Names of inputs and what a model gives for them, computed by all of a cluster's cores.

    Args:
        subject: The model.
        inputs: What is asked about.
        batch_size: Inputs at a time.

    Raises:
        ClusterError: The cluster can't be reached, or the work is lost.
        DataError: Inputs can't be read.
    """
    tally = inputs.tally = Tally(inputs.skip_unreadable)
    with Cluster(Resources(1), advice="leave out --ray, or use a larger machine") as cluster:
        workers = max(1, math.floor(cluster.resources().cpus))
        for table in _tables(subject, inputs, batch_size=batch_size, workers=workers):
            portion, outputs = _taken(table)
            tally.add(portion)
            if portion.names and not tally.failed:
                yield portion.names, outputs
    tally.finish()


def _tables(subject: Subject, inputs: Inputs, *, batch_size: int, workers: int) -> Iterator[pa.Table]:
    import ray
    import ray.data
    from ray.data import ActorPoolStrategy, DataContext
    from ray.exceptions import RayError

    from nnray.runners.prediction.worker import PieceAnswerer

    items = [_item(piece) for piece in inputs.pieces()]
    if not items:
        return
    weights = ray.put(save({name: value.contiguous() for name, value in subject.module.state_dict().items()}))
    try:
        with DataContext.current(in_order(memory_bytes=_AHEAD_BYTES)):
            dataset: Dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
                PieceAnswerer,
                fn_constructor_args=(json.dumps(dict(subject.about)), weights),
                fn_constructor_kwargs={
                    "reading": json.dumps(asdict(inputs.reading)),
                    "batch_size": batch_size,
                    "folder": str(Path.cwd()),
                },
                compute=ActorPoolStrategy(min_size=1, max_size=min(workers, len(items))),
                batch_size=1,
                num_cpus=1,
            )
            batches = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1))
        yield from batches
    except RayError as error:
        raise _cause(error) from error


def _item(piece: Piece | Unreadable) -> dict[str, str]:
    return {"kind": type(piece).__name__, "piece": json.dumps(asdict(piece))}


def _taken(table: pa.Table) -> tuple[Portion, Array]:
    """What is in a table of outputs and problems."""
    names, problems = table.column("name").to_pylist(), table.column("problem").to_pylist()
    told = [(name, problem) for name, problem in zip(names, problems, strict=True) if problem is not None]
    read = table.filter(pa.compute.is_null(table.column("problem")))
    portion = Portion(read.column("name").to_pylist(), np.empty(0))
    for name, problem in told:
        if name == CONVERTED:
            portion.converted.update(json.loads(problem))
        else:
            portion.unreadable.append(Unreadable(name, problem))
    flat = read.column("outputs").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return portion, flat.reshape(len(read), -1) if len(read) else flat


def _cause(error: BaseException) -> NnrayError:
    """What a worker raised, found below Ray's wrapping."""
    error = raised_below(error)
    if isinstance(error, NnrayError):
        return error
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return ClusterError(f"predicting on the cluster failed: {lines[-1]}; leave out --ray to do it here")
