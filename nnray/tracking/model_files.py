"""A model as files: written without inferring requirements, and loadable at any batch size.

The format is ``pt2``, a traced graph with a free batch dimension, which never unpickles anything. Its
signature is a float32 tensor ``[-1, ...]`` to ``[-1, K]``. The files are written before any store is asked,
so the store's ids are filled in later (``mlmodel.fill_in``).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from nnray.errors import IncompatibleModel
from nnray.tracking.mlmodel import GRAPH, write_description
from nnray.tracking.quiet import traced_quietly
from nnray.tracking.traces import Trace, Traces, structure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

_traces = Traces()


def save_model(
    module: nn.Module, example: NDArray[np.float32], *, folder: Path, needs_graph: bool = True
) -> None:
    """Write a module as an MLflow model: pt2, signature, input example, pinned requirements.

    Args:
        module: In eval mode, on the CPU.
        example: Two inputs or more.
        folder: Where to; what is there is removed.
        needs_graph: Refuse a module that can't be traced, rather than write all but its graph: then nothing
            but nnray loads the model.

    Raises:
        IncompatibleModel: ``torch.export`` can't trace the module with a free batch dimension.
        OSError: The disk is full.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with traced_quietly():
            _write(module, example, folder)
    except OSError:
        raise
    except Exception as error:
        if "PytorchStreamWriter" in str(error):
            raise OSError(f"can't write the model: {error}") from error
        if not needs_graph:
            _describe(module, example, folder)
            return
        raise IncompatibleModel(
            "torch.export",
            [f"{type(module).__name__}: {(str(error).strip() or repr(error)).splitlines()[0]}"],
            "Give forward() no Python branches on values or on the batch size.",
        ) from error


def _write(module: nn.Module, example: NDArray[np.float32], folder: Path) -> None:
    """Write a module by the trace of one like it; by its own where there is none, or it does not hold."""
    key = structure(module, example)
    trace = _traces.get(key)
    if trace is not None:
        trace.write(module, folder=folder, graph=GRAPH)
        try:
            _compare(module, example, folder)
            return
        except AssertionError:
            _traces.drop(key)
            shutil.rmtree(folder)
    _export(module, example, folder)
    _compare(module, example, folder)
    _traces.put(key, Trace.read(folder, GRAPH))


def _export(module: nn.Module, example: NDArray[np.float32], folder: Path) -> None:
    import torch

    inputs = torch.from_numpy(example)
    with torch.no_grad():
        outputs = module(inputs)
    program = torch.export.export(module, (inputs,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    (folder / GRAPH).parent.mkdir(parents=True)
    torch.export.save(program, folder / GRAPH)
    write_description(folder, example=example, output_shape=tuple(outputs.shape[1:]))


def _describe(module: nn.Module, example: NDArray[np.float32], folder: Path) -> None:
    """Write all that a model has beside its graph."""
    import torch

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with torch.no_grad():
        outputs = module(torch.from_numpy(example))
    write_description(folder, example=example, output_shape=tuple(outputs.shape[1:]), has_graph=False)


def _compare(module: nn.Module, example: NDArray[np.float32], folder: Path) -> None:
    """See that what was written gives what the module gives, whatever the batch size."""
    import numpy as np
    import torch

    written = torch.export.load(folder / GRAPH).module()
    for batch in (1, 7):
        inputs = torch.from_numpy(np.resize(example, (batch, *example.shape[1:])))
        with torch.no_grad():
            torch.testing.assert_close(written(inputs), module(inputs), rtol=1e-4, atol=1e-5)
