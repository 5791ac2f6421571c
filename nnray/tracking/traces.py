"""Graphs of models, traced once for all that have the same: a sweep's models differ in their weights.

Tracing takes several times as long as writing. Two modules are taken to have the same graph if their
parts are of the same types, with the same plain attributes and the same shapes; dropout's rate apart,
which does nothing in use. Whoever writes a model compares what it gives with what the module gives.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn
    from torch.export import ExportedProgram

_MOST = 8
"""Graphs that are kept: a sweep over architectures has some."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A graph, and the files that stand beside it.

    Args:
        program: As it was written; its weights are replaced.
        files: By their path in the model's folder.
    """

    program: ExportedProgram
    files: dict[Path, bytes]

    @classmethod
    def read(cls, folder: Path, graph: Path) -> Trace:
        """The trace of a model that has been written, its graph in ``folder / graph``."""
        import torch

        others = (path for path in folder.rglob("*") if path.is_file() and path != folder / graph)
        files = {path.relative_to(folder): path.read_bytes() for path in others}
        return cls(torch.export.load(folder / graph), files)

    def write(self, module: nn.Module, *, folder: Path, graph: Path) -> None:
        """Write a module of the same structure, with its own weights."""
        import torch

        tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        for held in (self.program.state_dict, self.program.constants):
            held.update({name: tensors[name] for name in held if name in tensors})
        shutil.rmtree(folder, ignore_errors=True)
        for path, content in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        (folder / graph).parent.mkdir(parents=True, exist_ok=True)
        torch.export.save(self.program, folder / graph)


class Traces:
    """The last traces, by structure. Not for several threads at a time."""

    def __init__(self) -> None:
        self._traces: OrderedDict[Hashable, Trace] = OrderedDict()

    def get(self, key: Hashable) -> Trace | None:
        """The trace of a structure, if it is known."""
        if key in self._traces:
            self._traces.move_to_end(key)
        return self._traces.get(key)

    def put(self, key: Hashable, trace: Trace) -> None:
        """Keep a trace, in place of the one that was not asked for longest."""
        self._traces[key] = trace
        self._traces.move_to_end(key)
        while len(self._traces) > _MOST:
            self._traces.popitem(last=False)

    def drop(self, key: Hashable) -> None:
        """Forget a trace that did not hold."""
        self._traces.pop(key, None)


def structure(module: nn.Module, example: NDArray[np.float32]) -> Hashable:
    """What two modules have in common that have the same graph for the same example."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    shapes = tuple((name, tuple(tensor.shape), tensor.dtype) for name, tensor in tensors)
    digest = hashlib.sha256(example.tobytes()).hexdigest()
    return tuple(_parts(module)), shapes, example.shape, digest


def _parts(module: nn.Module) -> Iterator[Hashable]:
    from torch import nn
    from torch.nn.modules.dropout import _DropoutNd

    common = vars(nn.Module()).keys()
    for name, part in module.named_modules():
        idle = {"p"} if isinstance(part, _DropoutNd) else set()
        own = {key: _told(value) for key, value in vars(part).items() if key not in common | idle}
        yield name, type(part), tuple(sorted(own.items()))


def _told(value: Any) -> str:
    """A plain value as text; anything else by what it is in this process, so that no other is like it."""
    plain = isinstance(value, None | bool | int | float | str | tuple | list)
    return repr(value) if plain or isinstance(value, type) else f"{type(value).__qualname__} {id(value)}"
